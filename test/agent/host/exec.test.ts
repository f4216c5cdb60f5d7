import t from 'tap'
import { systemExec } from '../../../agent/host/exec.ts'

const never = new AbortController().signal

t.test('a program gives its output and exit code, whatever the code', async (t) => {
  t.same(await systemExec.run('sh', ['-c', 'echo out; echo err >&2; exit 3'], {}, never), {
    code: 3,
    stdout: 'out\n',
    stderr: 'err\n'
  })
  t.match(await systemExec.run('cat', [], { input: 'typed' }, never), { code: 0, stdout: 'typed' })
  t.match(await systemExec.run('sh', ['-c', 'echo $A'], { env: { A: '$(id)' } }, never), { stdout: '$(id)\n' })
  t.match(await systemExec.run('sh', ['-c', 'kill -9 $$'], {}, never), { code: 137 })
  t.match(await systemExec.run('cat', [], {}, never), { code: 0, stdout: '' }, 'standard input is empty unless given')
})

t.test('a program that is not installed is named together with its package', async (t) => {
  await t.rejects(systemExec.run('hearth-no-such-program', [], {}, never), {
    code: 'unavailable',
    message: 'hearth-no-such-program is not installed: apt-get install hearth-no-such-program'
  })
  await t.rejects(systemExec.run('/etc/passwd', [], {}, never), { code: 'unavailable', message: /EACCES/ })
})

t.test('a program that takes too long or writes too much is ended', async (t) => {
  await t.rejects(systemExec.run('sleep', ['100'], { timeoutMs: 20 }, never), { code: 'timeout' })
  await t.rejects(systemExec.run('yes', [], { maxOutputBytes: 1000 }, never), { code: 'exhausted' })
})

t.test('cancelling throws the reason of the signal', async (t) => {
  const stop = new AbortController()
  const reason = new Error('no longer needed')
  const running = systemExec.run('sleep', ['100'], {}, stop.signal)
  setImmediate(() => stop.abort(reason))
  await t.rejects(running, reason)
  await t.rejects(systemExec.run('true', [], {}, stop.signal), reason)
})
