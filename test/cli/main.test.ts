import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { checkPurge } from '../../cli/commands/down.ts'
import { parseRemote } from '../../cli/commands/task-files.ts'
import { createContext } from '../../cli/context.ts'
import { describeFailure } from '../../cli/failure.ts'
import { missingHostTools, requireHostTools } from '../../cli/host-tools.ts'
import { runCommand } from '../../cli/main.ts'
import { stateLayout } from '../../cli/state-layout.ts'
import { mountsBelow } from '../../cli/stop-cluster.ts'
import { takeUpLock } from '../../cli/up-lock.ts'

async function run(...argv: string[]) {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  const code = await runCommand(
    argv,
    createContext({ HEARTH_STATE_DIR: '/nonexistent/hearth' }, streams, new AbortController().signal)
  )
  streams.stdout.end()
  streams.stderr.end()
  return { code, out: await text(streams.stdout), err: await text(streams.stderr) }
}

t.test('a mistake in the command line is one sentence and 64', async (t) => {
  const rows = [
    [['task', 'run', '--bogus', 'host'], /^hearth: unknown option '--bogus' .*hearth task run --help/],
    [['task', 'run'], /^hearth: missing required argument 'image'/],
    [['task', 'run', '-p', '80', 'host'], /^hearth: -p needs an address per container/],
    [['task', 'run', '--network', 'bridge', 'host'], /^hearth: option '--network <mode>' argument 'bridge' is invalid/],
    [['task', 'run', '-t', 'host'], /^hearth: -t needs a terminal on standard input/],
    [['task', 'exec', 'x'], /^hearth: missing required argument 'command'/],
    [['task', 'cp', '/a', '/b'], /^hearth: one of the two must be TASK:PATH/],
    [['taks'], /^hearth: unknown command 'taks'\n\(Did you mean task\?\)/],
    [['completion', 'tcsh'], /^hearth: no completion for "tcsh": use bash, zsh or fish/]
  ] as const
  for (const [argv, sentence] of rows) {
    const { code, out, err } = await run(...argv)
    t.equal(code, 64, argv.join(' '))
    t.equal(out, '')
    t.match(err, sentence, argv.join(' '))
    t.notMatch(err, /at .*\.ts/, 'no stack')
  }
})

t.test('help is no mistake', async (t) => {
  const { code, out } = await run('task', 'run', '--help')
  t.equal(code, 0)
  t.match(out, /Usage: hearth task run \[options\] IMAGE \[--\] \[COMMAND\.\.\.\]/)
})

t.test('options after the image belong to the command, not to hearth', async (t) => {
  const { err } = await run('task', 'run', 'host', '--bogus')
  t.match(err, /no master: /)
})

t.test('without a master every command says where it looked and ends with 69', async (t) => {
  for (const argv of [
    ['task', 'list'],
    ['node', 'list'],
    ['image', 'list'],
    ['task', 'run', 'host', 'true'],
    ['task', 'logs', 'x']
  ]) {
    const { code, err } = await run(...argv)
    t.equal(code, 69, argv.join(' '))
    t.match(err, /^hearth: no master: \/nonexistent\/hearth\/run\/master\.sock is not there; start it with `sudo hearth up`.*\n$/)
  }
})

t.test('version answers without a master', async (t) => {
  const { code, out } = await run('version')
  t.equal(code, 0)
  t.match(out, /^hearth .*\nmaster not reachable\n$/)
})

t.test('a bug of ours keeps its stack and asks for a report', async (t) => {
  t.match(describeFailure(new TypeError('x is undefined')), { code: 70, text: /this is a bug.*x is undefined\n +at / })
})

t.test('missing host tools are named with the commands that install them', async (t) => {
  const bin = t.testdir({ bin: {} })
  for (const name of ['conmon', 'mount', 'nsenter', 'tar', 'zstd']) {
    writeFileSync(join(bin, name), '')
    chmodSync(join(bin, name), 0o755)
  }
  writeFileSync(join(bin, 'runc'), 'not executable')
  t.ok(missingHostTools([bin]).some((tool) => tool.program === 'runc'))
  t.notOk(missingHostTools([bin]).some((tool) => tool.program === 'conmon'))
  t.throws(() => requireHostTools([bin]), {
    code: 'unsupported',
    message: /lacks runc \(starts containers\).*apt-get install -y runc.*dnf install -y runc/
  })
})

t.test('--purge removes only what is certainly a state directory', async (t) => {
  const mine = join(t.testdir({ state: { 'identity.json': '{}' }, other: {} }), 'state')
  t.doesNotThrow(() => checkPurge(stateLayout(mine)))
  const other = join(mine, '../other')
  t.throws(() => checkPurge(stateLayout(other)), { code: 'denied', message: /no identity\.json/ })
  for (const path of ['/', '/etc', '/var/lib', '/usr', '/tmp', '/root']) {
    t.throws(() => checkPurge(stateLayout(path)), { code: 'denied', message: /refuses/ }, path)
  }
  t.throws(() => checkPurge(stateLayout(mine), join(mine, 'me')), { code: 'denied' }, 'a home folder lies in it')
})

t.test('mounts below a folder are found, those beside it are not', async (t) => {
  const info = ['1 2 0:1 / /a/b rw - x', '1 2 0:1 / /a/bc rw - x', '1 2 0:1 / /a/b/c\\040d rw - x', '1 2 0:1 / / rw - x'].join(
    '\n'
  )
  t.strictSame(mountsBelow('/a/b', info), ['/a/b', '/a/b/c d'])
})

t.test('one up at a time, and a lock whose holder died is taken over', async (t) => {
  const layout = stateLayout(t.testdir())
  const release = takeUpLock(layout)
  t.throws(() => takeUpLock(layout), { code: 'conflict', message: new RegExp(`process ${process.pid}`) })
  release()
  mkdirSync(layout.run, { recursive: true })
  writeFileSync(layout.upLock, JSON.stringify({ pid: process.pid, startTicks: 1, bootId: 'another' }))
  t.doesNotThrow(() => takeUpLock(layout)())
})

t.test('TASK:PATH is told from a local path', async (t) => {
  t.strictSame(parseRemote('web:/a/b'), { id: 'web', path: '/a/b' })
  t.strictSame(parseRemote('web:'), { id: 'web', path: '' })
  for (const local of ['/a:b', './a:b', '-', 'a', ':b']) t.equal(parseRemote(local), undefined, local)
})
