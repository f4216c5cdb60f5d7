import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'

// The scripts of setup/ run before anything is installed or compiled, so they are plain JavaScript without types.
interface Bootstrap {
  checkNode(version: string): string | undefined
  dependenciesAreCurrent(directory: string): boolean
  missingTools(purpose: string, path: string): readonly { readonly program: string }[]
  describeMissing(missing: readonly unknown[]): string
}
interface TapSummary {
  push(line: string): void
  close(exitCode: number): string
}
interface TestLane {
  readonly TapSummary: new (print: (line: string) => void, options?: { readonly steps: boolean }) => TapSummary
  needsRoot(file: string): boolean
  readArguments(words: readonly string[]): { readonly named: readonly string[]; readonly node: string | undefined }
  testFiles(places: readonly string[]): readonly string[]
}
const load = (name: string): Promise<unknown> => import(pathToFileURL(join(process.cwd(), 'setup', name)).href)
const bootstrap = (await load('bootstrap.mjs')) as Bootstrap
const lane = (await load('test.mjs')) as TestLane

t.test('a Node that is too old is told in one sentence', async (t) => {
  for (const version of ['18.20.0', '20.18.9'])
    t.match(bootstrap.checkNode(version), new RegExp(`${version} is too old.*20\\.19`), version)
  for (const version of ['20.19.0', '22.0.0', '24.1.0']) t.equal(bootstrap.checkNode(version), undefined, version)
})

t.test('dependencies are current when what is installed is what the lock file says', async (t) => {
  const lock = (packages: object): string => JSON.stringify({ packages })
  const folder = t.testdir({ node_modules: {} })
  const wanted = { '': {}, 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '1.0.0', optional: true } }
  const installed = (packages: object): void => writeFileSync(join(folder, 'node_modules/.package-lock.json'), lock(packages))
  writeFileSync(join(folder, 'package-lock.json'), lock(wanted))
  t.notOk(bootstrap.dependenciesAreCurrent(folder), 'nothing is installed')
  installed({ 'node_modules/a': { version: '1.0.0' } })
  t.ok(bootstrap.dependenciesAreCurrent(folder), 'an optional package of another platform may be absent')
  installed({ 'node_modules/a': { version: '1.0.1' } })
  t.notOk(bootstrap.dependenciesAreCurrent(folder), 'another version')
  installed({ 'node_modules/b': { version: '1.0.0' } })
  t.notOk(bootstrap.dependenciesAreCurrent(folder), 'one is missing')
})

t.test('missing tools are named with both commands', async (t) => {
  const bin = t.testdir()
  for (const name of ['conmon', 'ip']) {
    writeFileSync(join(bin, name), '')
    chmodSync(join(bin, name), 0o755)
  }
  mkdirSync(join(bin, 'x'))
  const names = bootstrap.missingTools('start', bin).map((tool) => tool.program)
  t.ok(names.includes('runc') && names.includes('nft') && !names.includes('conmon') && !names.includes('ip'))
  t.notOk(names.includes('mmdebstrap'), 'what only tests need is not asked for')
  t.ok(bootstrap.missingTools('test', bin).some((tool) => tool.program === 'mmdebstrap'))
  const sentence = bootstrap.describeMissing(bootstrap.missingTools('start', bin))
  t.match(sentence, /missing: runc, .*apt-get install -y runc .*nftables.*dnf install -y runc/)
})

t.test('the watchdog of leases finds its interpreter where the set-up looks for it', async (t) => {
  const [, path] = /const perl = '([^']+)'/.exec(readFileSync('agent/lease/leases.ts', 'utf8')) ?? []
  const { tools } = JSON.parse(readFileSync('cli/host-tools.json', 'utf8')) as {
    readonly tools: readonly { readonly program: string }[]
  }
  t.ok(path !== undefined && tools.some(({ program }) => program === path), `${path}`)
})

t.test('files that need root are told by their folder', async (t) => {
  t.ok(lane.needsRoot('test/host/a.test.ts') && lane.needsRoot('test/e2e/a/b.test.ts'))
  t.notOk(lane.needsRoot('test/cli/a.test.ts'))
  t.ok(lane.testFiles(['test']).includes('test/setup/setup.test.ts'))
  t.strictSame(lane.testFiles(['test/sdk/http-fixture.ts']), [], 'a helper is no test')
})

function summaryOf(text: string, exitCode: number): { readonly line: string; readonly printed: readonly string[] } {
  const printed: string[] = []
  const summary = new lane.TapSummary((line) => printed.push(line))
  for (const line of text.split('\n')) summary.push(line)
  return { line: summary.close(exitCode), printed }
}

const passing = 'TAP version 14\n# Subtest: test/a.test.ts\n    ok 1 - x\n    1..1\nok 1 - test/a.test.ts # time=1ms\n1..1\n'

t.test('a run that passed is counted by its assertions', async (t) => {
  const { line, printed } = summaryOf(`${passing}# { total: 5, pass: 4, skip: 1 }\n# time=1ms`, 0)
  t.equal(line, '4 passed, 0 failed, 1 skipped')
  t.strictSame(printed, ['ok     test/a.test.ts (1ms)'])
})

t.test('a lane of long files tells each of their steps as it ends', async (t) => {
  const printed: string[] = []
  const summary = new lane.TapSummary((line) => printed.push(line), { steps: true })
  const steps = ['    ok 1 - an assertion', '    ok 2 - first # time=1500.2ms', '        not ok 1 - second # time=20ms']
  for (const line of steps) summary.push(line)
  t.strictSame(printed, ['    ok first (1.5 s)', '        not ok second (0.0 s)'])
})

t.test('a failure is shown with its details, in both forms of tap', async (t) => {
  const detail = '    not ok 1 - the reason\n      ---\n      ...\n'
  const plain = summaryOf(
    `# Subtest: test/a.test.ts\n${detail}not ok 1 - test/a.test.ts # time=1ms\n  ---\n# { total: 1, fail: 1 }`,
    1
  )
  const buffered = summaryOf(`not ok 1 - test/a.test.ts # time=1ms {\n${detail}}\n# { total: 1, fail: 1 }`, 1)
  for (const { line, printed } of [plain, buffered]) {
    t.equal(line, '0 passed, 1 failed')
    t.match(printed.join('\n'), /FAILED test\/a\.test\.ts \(1ms\)[\s\S]*the reason/)
  }
})

t.test('a run that died, or ran nothing, never looks like one that passed', async (t) => {
  t.match(summaryOf(passing, 1).line, /, 1 failed$/, 'tap failed without a failed assertion')
  t.match(
    summaryOf('not ok 1 - test/a.test.ts # time=1ms\n# { total: 3, pass: 3 }', 0).line,
    /3 passed, 1 failed/,
    'a file failed'
  )
  t.match(summaryOf('TAP version 14\n1..0', 0).line, /0 passed, 1 failed/, 'no file at all')
})

t.test('the words of npm test are files, folders and a Node', async (t) => {
  t.same(lane.readArguments([]), { named: [], node: undefined })
  t.same(lane.readArguments(['--node', '24', 'test/proto', 'test/a.test.ts']), {
    named: ['test/proto', 'test/a.test.ts'],
    node: '24'
  })
})
