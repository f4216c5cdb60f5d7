import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildTaskRequest, parseMount, parseSignal, type RunOptions } from '../../cli/task-request.ts'

const build = (options: RunOptions, command: readonly string[] = [], env = {}) => buildTaskRequest('host', command, options, env)

t.test('what is not given is not sent', async (t) => {
  t.strictSame(build({}, ['uname', '-a']), { image: 'host', arguments: ['uname', '-a'], environment: [] })
})

t.test('one -- before the command is dropped, a second belongs to the command', async (t) => {
  t.strictSame(build({}, ['--', 'ls', '--', 'x']).arguments, ['ls', '--', 'x'])
  t.strictSame(build({}, ['--', '--']).arguments, ['--'])
})

t.test('a log budget is sent whole as soon as one of its options is given', async (t) => {
  t.strictSame(build({ logFiles: '3' }).logBudget, { fileBytes: 10 * 1024 * 1024, files: 3 })
  t.strictSame(build({ logSize: '1m', logAge: '1d' }).logBudget, { fileBytes: 1024 * 1024, files: 5, maxAgeMs: 86_400_000 })
})

t.test('every option finds its place', async (t) => {
  const request = build({
    interactive: true,
    tty: true,
    rm: true,
    workdir: '/w',
    user: '1:2',
    volume: ['/a:/b', '/c:/d:ro'],
    label: ['k=v=w', 'flag'],
    memory: '64m',
    cpus: '0.5',
    disk: '1g',
    name: 'n',
    network: 'none',
    runtime: 'crun',
    role: 'r',
    stopSignal: 'int',
    stopTimeout: '3s'
  })
  t.strictSame(request, {
    image: 'host',
    arguments: [],
    environment: [],
    name: 'n',
    workingDirectory: '/w',
    user: '1:2',
    network: 'none',
    runtime: 'crun',
    role: 'r',
    memoryBytes: 64 * 1024 ** 2,
    diskBytes: 1024 ** 3,
    milliCpu: 500,
    mounts: [
      { source: '/a', target: '/b', readOnly: false },
      { source: '/c', target: '/d', readOnly: true }
    ],
    labels: { k: 'v=w', flag: '' },
    terminal: true,
    openStdin: true,
    removeWhenDone: true,
    killPolicy: { signal: 'SIGINT', graceMs: 3000 }
  })
})

t.test('variables come from files, then from -e, and a bare name from this shell', async (t) => {
  const file = join(t.testdir({ env: '# a comment\nA=file\n\nB=file # kept\r\n  C=x\nHOME_OF\n' }), 'env')
  const request = build({ envFile: [file], env: ['A=flag', 'SHELL_HAS', 'SHELL_LACKS', 'EMPTY=', 'EQ=a=b'] }, [], {
    SHELL_HAS: 'yes',
    HOME_OF: '/root'
  })
  t.strictSame(Object.fromEntries(request.environment.map((v) => [v.name, v.value])), {
    A: 'flag',
    B: 'file # kept',
    C: 'x',
    HOME_OF: '/root',
    SHELL_HAS: 'yes',
    EMPTY: '',
    EQ: 'a=b'
  })
})

const mistakes: readonly (readonly [RunOptions, RegExp])[] = [
  [{ publish: ['80:80'] }, /-p needs an address per container, which comes in a later version/],
  [{ env: ['=x'] }, /-e must be NAME=VALUE/],
  [{ env: ['A B=x'] }, /-e must be NAME=VALUE/],
  [{ label: ['=x'] }, /--label must be/],
  [{ volume: ['/a'] }, /-v must be SRC:DST/],
  [{ volume: ['/a:b'] }, /with DST absolute/],
  [{ volume: ['/a:/b:rx'] }, /-v must be SRC:DST/],
  [{ volume: ['/a:/b:ro:z'] }, /-v must be SRC:DST/],
  [{ volume: ['data:/b'] }, /named volumes come in a later version/],
  [{ memory: 'lots' }, /--memory must be a size/],
  [{ cpus: '0' }, /--cpus must be a number/],
  [{ disk: '-1' }, /--disk must be a size/],
  [{ stopSignal: 'now!' }, /--stop-signal must be a signal/],
  [{ stopSignal: 'NOPE' }, /--stop-signal must be a signal such as TERM, INT or 9, not "NOPE"/],
  [{ stopSignal: '0' }, /not "0"/],
  [{ stopSignal: '99' }, /not "99"/],
  [{ env: ['A=x\ufffd'] }, /-e A holds bytes that are not valid UTF-8/],
  [{ env: ['A\ufffd=x'] }, /-e a name holds bytes that are not valid UTF-8/],
  [{ stopTimeout: 'soon' }, /--stop-timeout must be a time/],
  [{ logSize: 'much' }, /--log-size must be a size/],
  [{ logSize: '63k' }, /--log-size must be at least 64k, not "63k"/],
  [{ logFiles: '1' }, /--log-files must be from 2 to 1000, not "1"/],
  [{ logFiles: 'all' }, /--log-files must be/],
  [{ logAge: '10ms' }, /--log-age must be at least 1s/]
]

t.test('each mistake is named with the form that is wanted', async (t) => {
  for (const [options, message] of mistakes) t.throws(() => build(options), { code: 'invalid', message }, JSON.stringify(options))
  t.throws(() => build({ envFile: ['/nonexistent'] }), { code: 'not-found', message: /cannot be read \(ENOENT\)/ })
})

t.test('a source that begins with a dot is taken from the working folder', async (t) => {
  t.equal(parseMount('.:/b').source, process.cwd())
  t.equal(parseMount('./x:/b').source, join(process.cwd(), 'x'))
})

t.test('signals are taken by name with and without SIG, in any case, and by number', async (t) => {
  t.equal(parseSignal('-s', '9'), 'SIGKILL')
  t.equal(parseSignal('-s', '6'), 'SIGABRT')
  for (const text of ['TERM', 'SIGTERM', 'sigterm', 'term', '15']) t.equal(parseSignal('-s', text), 'SIGTERM')
})

t.test('what is not valid UTF-8 is refused, not passed on as something else', async (t) => {
  t.throws(() => build({}, ['--', 'echo', 'a\ufffd']), { code: 'invalid', message: /word 2 of the command holds bytes/ })
  t.throws(() => build({ env: ['FROM_SHELL'] }, [], { FROM_SHELL: '\ufffd' }), { code: 'invalid', message: /-e FROM_SHELL/ })
  const file = join(t.testdir(), 'env')
  writeFileSync(file, Buffer.from([0x41, 0x3d, 0xff, 0x0a]))
  t.throws(() => build({ envFile: [file] }), { code: 'invalid', message: `--env-file: ${file} is not valid UTF-8` })
})
