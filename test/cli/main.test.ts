import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
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
import { makeFolder } from '../../cli/make-folder.ts'
import { changedSettings, environmentOf } from '../../cli/running-settings.ts'
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
    [['task', 'run'], /^hearth: name an image to run, such as host, or a pod’s file with --pod/],
    [['task', 'run', '-p', '80', 'host'], /^hearth: -p needs an address per container/],
    [['task', 'run', '--network', 'bridge', 'host'], /^hearth: option '--network <mode>' argument 'bridge' is invalid/],
    [['task', 'run', '-t', 'host'], /^hearth: -t needs a terminal on standard input/],
    [['task', 'exec', 'x'], /^hearth: missing required argument 'command'/],
    [['task', 'cp', '/a', '/b'], /^hearth: one of the two must be TASK:PATH/],
    [['taks'], /^hearth: unknown command 'taks' \(Did you mean task\?\)/],
    [['task', 'kill', '-s', 'FOO', 'x'], /^hearth: --signal must be a signal such as TERM, INT or 9, not "FOO"\n$/],
    [['task', 'exec', 'x', '--', 'a\ufffd'], /^hearth: word 1 of the command holds bytes that are not valid UTF-8/],
    [['up', '--http', 'foo'], /^hearth: --http must be an address of this host such as 127.0.0.1:7340, or off, not "foo"/],
    [['up', '--http', '10.0.0.1:80'], /^hearth: --http must be an address of this host/],
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

t.test('--state-dir is taken before the command too, and the one after it wins', async (t) => {
  t.match((await run('--state-dir', '/elsewhere', 'task', 'list')).err, /no master: \/elsewhere\/run\/master\.sock/)
  t.match((await run('--state-dir', '/a', 'task', '--state-dir', '/b', 'list')).err, /no master: \/b\/run\/master\.sock/)
  t.match((await run('--state-dir', '/a', 'task', 'list', '--state-dir', '/b')).err, /no master: \/b\/run\/master\.sock/)
})

t.test('a wrong address makes nothing', async (t) => {
  const stateDir = join(t.testdir(), 'state')
  t.equal((await run('up', '--state-dir', stateDir, '--http', 'foo')).code, 64)
  t.notOk(existsSync(stateDir))
})

t.test('only settings of the daemons that were given otherwise than when they were started are told', async (t) => {
  const started = { HEARTH_RUNC: '/r', PATH: '/a', HEARTH_STATE_DIR: '/s' }
  const wanted = { HEARTH_RUNC: '/r', HEARTH_ALLOW_MOUNT: '/x', PATH: '/b', HEARTH_STATE_DIR: '/t', HEARTH_TOKEN: 'y' }
  t.strictSame(changedSettings(wanted, started), ['HEARTH_ALLOW_MOUNT'])
  t.strictSame(changedSettings({}, started), [])
  t.equal(environmentOf(process.pid)['PATH'], process.env['PATH'])
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
  const remains = join(mine, '../remains')
  for (const folder of ['run', 'logs']) mkdirSync(join(remains, folder), { recursive: true })
  for (const file of ['run/supervisor.json', 'run/up.lock', 'logs/master.log', 'logs/agent.log.1']) {
    writeFileSync(join(remains, file), '')
  }
  t.doesNotThrow(() => checkPurge(stateLayout(remains)), 'what a failed up leaves')
  writeFileSync(join(remains, 'logs/diary.txt'), '')
  t.throws(() => checkPurge(stateLayout(remains)), { code: 'denied', message: /no identity\.json/ })
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

t.test('a folder that takes no new ones is told, not tried for ever', async (t) => {
  t.throws(() => makeFolder('/proc/hearth/run'), { code: 'ENOENT' })
  const path = join(t.testdir(), 'a/b')
  makeFolder(path)
  makeFolder(path)
  t.ok(statSync(path).isDirectory())
})
