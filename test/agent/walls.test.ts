import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { isolatorsPlan, nodeIsolators, withWalls } from '../../agent/wall-report.ts'
import { openWalls } from '../../agent/walls.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { Isolator, IsolatorRequest } from '../../isolators/isolator.ts'

const { sleep } = systemClock
const never = (): AbortSignal => new AbortController().signal
const own: Isolator = {
  name: 'filesystem',
  capabilities: async () => [{ name: 'rootfs.overlay', present: true, detail: 'overlay' }],
  prepare: async () => ({}),
  cleanup: async () => undefined
}

/** Modules by name, each as its source, or as its files. */
function modules(t: Test, sources: Readonly<Record<string, string | Readonly<Record<string, string>>>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-modules-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  for (const [name, source] of Object.entries(sources)) {
    const files = typeof source === 'string' ? { 'package.json': '{"type": "module"}', 'index.js': source } : source
    for (const [file, text] of Object.entries(files)) {
      const path = join(directory, 'node_modules', name, file)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }
  }
  return directory
}

const sound = (name: string, more = ''): string => `
  export const contract = 1
  export const createIsolator = () => ({
    name: '${name}', capabilities: async () => [{ name: '${name}.there', present: false, detail: 'no kernel for it' }],
    prepare: async () => ({}), cleanup: async () => {}, ${more} })`

const open = (directory: string, ...names: readonly string[]) =>
  openWalls({ builtin: [own], last: [], log: silentLog, sleep }, { modules: names, directory })

t.test('modules are found by their npm name, in every form a package may have', async (t) => {
  const directory = modules(t, {
    a: sound('one'),
    '@scope/b': {
      'package.json': '{"type":"module","exports":{".":{"require":"./no.js","import":"./lib/x.js"}}}',
      'lib/x.js': sound('two')
    },
    c: {
      'package.json': '{"main":"m.js"}',
      'm.js': sound('three')
        .replace('export const contract', 'exports.contract')
        .replace('export const createIsolator', 'exports.createIsolator')
    }
  })
  const walls = await open(directory, 'a', '@scope/b', 'c')
  t.same(
    walls.report().map(({ name, module, state }) => [name, module, state]),
    [
      ['filesystem', null, 'ready'],
      ['one', 'a', 'ready'],
      ['two', '@scope/b', 'ready'],
      ['three', 'c', 'ready']
    ]
  )
  const all = withWalls([{ name: 'rootfs.overlay', present: true, detail: 'by the host' }], walls)
  t.same(
    all.map(({ name, detail }) => `${name}: ${detail}`),
    ['rootfs.overlay: by the host', 'one.there: no kernel for it', 'two.there: no kernel for it', 'three.there: no kernel for it']
  )
  t.same(
    (await nodeIsolators(walls, { capabilities: [...all, { name: 'runtime.crun', present: false, detail: 'absent' }] })).host,
    [{ name: 'runtime.crun', present: false, detail: 'absent' }]
  )
})

t.test('what cannot be loaded lets the agent start, and no container', async (t) => {
  const directory = modules(t, {
    throws: 'throw new Error("broken at once")',
    old: sound('old').replace('contract = 1', 'contract = 7'),
    empty: 'export const contract = 1',
    half: 'export const contract = 1; export const createIsolator = () => ({ name: "half", prepare() {} })',
    failing: 'export const contract = 1; export const createIsolator = () => { throw new Error("no licence") }'
  })
  for (const [name, why] of [
    ['throws', /throws.*broken at once/],
    ['old', /must export contract = 1, the version it was written for, not 7/],
    ['empty', /must export a function createIsolator/],
    ['half', /has no function capabilities/],
    ['failing', /createIsolator failed: no licence/],
    ['absent', /package\.json is not there; install the module with npm install --prefix/]
  ] as const) {
    const walls = await open(directory, name)
    t.match(walls.report()[0], { name, state: 'not-loaded', troubles: { capabilities: why } })
    const [refusing] = walls.isolators
    await t.rejects(async () => refusing?.prepare({} as IsolatorRequest, never()), { code: 'unavailable', message: why })
    await refusing?.cleanup({ made: [{ kind: 'cgroup', id: '/x' }] } as unknown as IsolatorRequest, never())
    const made = [{ kind: 'other', id: 'x:y' }]
    await t.rejects(refusing?.cleanup({ made } as unknown as IsolatorRequest, never()) ?? Promise.resolve(), why)
    t.match(await isolatorsPlan(walls).run(never()), [{ subject: name, verdict: 'FAILURE', reason: why }])
  }
})

t.test('one that fails on this host is told, and told no more once it is well', async (t) => {
  const directory = modules(t, {
    a: `let asked = 0; export const contract = 1
      export const createIsolator = () => ({ name: 'a', prepare: async () => ({}), cleanup: async () => { throw 'sticks' },
        capabilities: async () => { if (asked++ === 0) throw new Error('no device'); return [] } })`
  })
  const walls = await open(directory, 'a')
  const { isolators, report } = walls
  t.match(report()[1], { state: 'failing', capabilities: [{ name: 'isolator.a', present: false, detail: /no device/ }] })
  t.match(await isolatorsPlan(walls).run(never()), [{ verdict: 'FAILURE', reason: /no container can start: .*no device/ }])
  await isolators[1]?.prepare({ made: [] } as unknown as IsolatorRequest, never())
  t.match(report()[1], { state: 'ready' })
  t.match(await isolatorsPlan(walls).run(never()), [{ verdict: 'OK' }])
  await t.rejects(isolators[1]?.cleanup({ made: [] } as unknown as IsolatorRequest, never()) ?? Promise.resolve(), /sticks/)
  t.match(await isolatorsPlan(walls).run(never()), [{ verdict: 'WARNING', reason: /a clean-up failed: .*sticks/ }])
})

t.test('an arrangement that cannot be keeps the agent from starting', async (t) => {
  const directory = modules(t, { a: sound('filesystem'), b: sound('b', "place: { conflicts: ['filesystem'] }") })
  await t.rejects(open(directory, 'a'), { code: 'invalid', message: /two isolators are called filesystem/ })
  await t.rejects(open(directory, 'b'), { code: 'invalid', message: /b cannot stand beside filesystem/ })
})
