import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** What each room may import besides itself. The longest matching row wins; a file without a row fails. */
const may: Readonly<Record<string, readonly string[]>> = {
  base: ['node:'],
  proto: ['base', 'npm:protobufjs', 'node:os', 'node:zlib'],
  identity: ['base', 'proto', 'node:', 'npm:@peculiar/x509', 'npm:reflect-metadata'],
  isolators: ['base', 'node:'],
  'isolators/runtime/docker': ['isolators', 'base', 'node:', 'npm:dockerode'],
  agent: [
    'base',
    'proto',
    'identity',
    'isolators',
    'node:',
    'npm:execa',
    'npm:pino',
    'npm:find-my-way',
    'npm:tar-stream',
    'npm:systeminformation'
  ],
  'agent/host': ['agent', 'base', 'proto', 'isolators', 'node:', 'npm:execa', 'npm:systeminformation', 'npm:koffi'],
  'master/raft': [],
  'master/state': ['base', 'proto'],
  'master/allocator': ['base', 'proto'],
  master: [
    'base',
    'proto',
    'master/raft',
    'master/state',
    'master/allocator',
    'node:',
    'npm:fastify',
    'npm:@fastify/swagger',
    'npm:pino',
    'identity'
  ],
  'master/identity': [
    'master',
    'master/state',
    'base',
    'proto',
    'identity',
    'node:',
    'npm:@peculiar/x509',
    'npm:reflect-metadata',
    'npm:jose'
  ],
  'master/main.ts': [
    'master',
    'master/raft',
    'master/state',
    'master/allocator',
    'base',
    'proto',
    'schedulers',
    'node:',
    'npm:pino'
  ],
  schedulers: ['base', 'proto', 'sdk'],
  sdk: ['base', 'proto', 'identity', 'node:'],
  cli: ['base', 'proto', 'identity', 'sdk', 'node:', 'npm:commander', 'npm:tar-stream', 'npm:yaml'],
  'proto/generate.mjs': ['proto', 'node:', 'npm:protobufjs'],
  setup: ['*'],
  test: ['*'],
  'eslint.config.mjs': ['*']
}

const pure = ['master/raft', 'master/state', 'master/allocator']
const impure =
  /\b(Math\.random|Date\b|performance\b|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|crypto\.|fetch\()/
const notSources = new Set(['node_modules', 'dist', '.git', '.tap', '.cache', 'coverage'])
const isCompositionRoot = (file: string): boolean => /(^|\/|-)main\.ts$/.test(file)

const roomOf = (file: string): string | undefined =>
  Object.keys(may)
    .filter((row) => file === row || file.startsWith(`${row}/`))
    .sort((a, b) => b.length - a.length)[0]

/** A room lies within another (`agent/host` in `agent`), which may use it as its own. */
const isWithin = (room: string, outer: string): boolean =>
  room === outer || (room.startsWith(`${outer}/`) && !pure.includes(room))

function target(file: string, spec: string): string {
  if (spec.startsWith('.')) {
    const path = normalize(join(dirname(file), spec))
    return roomOf(path) ?? path
  }
  return spec.startsWith('node:')
    ? spec
    : `npm:${spec
        .split('/')
        .slice(0, spec.startsWith('@') ? 2 : 1)
        .join('/')}`
}

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')

/** Static, side-effect, re-exporting and dynamic imports, of types too. */
const importsOf = (text: string): readonly string[] => ts.preProcessFile(text, true, true).importedFiles.map((f) => f.fileName)

function complaints(file: string, text: string): string[] {
  const room = roomOf(file)
  if (room === undefined) return [`${file} is in no room of the import table`]
  const allowed = may[room] ?? []
  if (allowed.includes('*')) return []
  const code = withoutComments(text)
  const specs = importsOf(text)
  const strays = specs
    .map((spec) => target(file, spec))
    .filter((to) => !isWithin(to, room) && !allowed.some((a) => isWithin(to, a) || (a === 'node:' && to.startsWith(a))))
    .map((to) => `${file} may not import ${to}`)
  const roots = specs
    .filter((spec) => spec.startsWith('.') && isCompositionRoot(spec))
    .map((spec) => `${file} may not import the composition root ${spec}`)
  const reaches = pure.includes(room) && impure.test(code) ? [`${file} reaches for time, chance or the process`] : []
  return [...strays, ...roots, ...reaches]
}

const sources = readdirSync(root, { withFileTypes: true })
  .filter((entry) => !notSources.has(entry.name))
  .flatMap((entry) => {
    if (!entry.isDirectory()) return [entry.name]
    return readdirSync(join(root, entry.name), { recursive: true }).map((path) => `${entry.name}/${String(path)}`)
  })
  .filter((file) => /\.(ts|mts|cts|mjs|cjs|js)$/.test(file) && !file.includes('node_modules/'))

t.test('every source keeps to the import table', async (t) => {
  t.ok(sources.length > 50, `${sources.length} sources were read`)
  t.strictSame(
    sources.flatMap((file) => complaints(file, readFileSync(join(root, file), 'utf8'))),
    []
  )
})

t.test('a room that no source lives in has no row', async (t) => {
  const empty = Object.keys(may).filter((row) => !sources.some((f) => f === row || f.startsWith(`${row}/`)))
  t.strictSame(empty, [])
})

const planted: readonly (readonly [sentence: string, file: string, text: string, complaint: RegExp])[] = [
  ['a file in no room', 'plugins/a.ts', '', /is in no room/],
  ['a file at the top', 'a.ts', '', /is in no room/],
  ['the master using the agent', 'master/a.ts', "import { b } from '../agent/b.ts'", /may not import agent/],
  ['the agent using the master', 'agent/a.ts', "import type { B } from '../master/b.ts'", /may not import master/],
  ['an isolator using the agent', 'isolators/a.ts', "export { b } from '../agent/b.ts'", /may not import agent/],
  ['an isolator using the wire', 'isolators/a.ts', "import { b } from '../proto/b.ts'", /may not import proto/],
  ['the master using a scheduler', 'master/a.ts', "import { b } from '../schedulers/task/b.ts'", /may not import schedulers/],
  ['the master using the sdk', 'master/main.ts', "import { b } from '../sdk/b.ts'", /may not import sdk/],
  ['base using proto', 'base/a.ts', "import '../proto/b.ts'", /may not import proto/],
  ['a package that is not in the table', 'base/a.ts', "import pino from 'pino'", /may not import npm:pino/],
  ['a scoped package', 'agent/a.ts', "import x from '@scope/name/deep'", /may not import npm:@scope\/name/],
  ['a dynamic import', 'cli/a.ts', "await import('../agent/b.ts')", /may not import agent/],
  ['an import over several lines', 'sdk/a.ts', "import {\n  b\n} from '../agent/b.ts'", /may not import agent/],
  ['node in the state', 'master/state/a.ts', "import { x } from 'node:fs'", /may not import node:/],
  ['the master’s shell in the state', 'master/state/a.ts', "import { x } from '../offers.ts'", /may not import master/],
  ['the clock in the state', 'master/state/a.ts', 'export const x = Date.now()', /reaches for time/],
  ['chance in the allocator', 'master/allocator/a.ts', 'export const x = Math.random()', /reaches for time/],
  ['the process in raft', 'master/raft/a.ts', 'export const x = process.pid', /reaches for time/],
  ['a timer in the state', 'master/state/a.ts', 'setTimeout(f, 1)', /reaches for time/],
  ['somebody importing a main', 'agent/a.ts', "import { main } from './main.ts'", /composition root/],
  ['native code outside agent/host', 'agent/images/a.ts', "import koffi from 'koffi'", /may not import npm:koffi/]
]

t.test('planted violations are found', async (t) => {
  for (const [sentence, file, text, complaint] of planted) t.match(complaints(file, text).join('\n'), complaint, sentence)
})

const allowedOnes: readonly (readonly [sentence: string, file: string, text: string])[] = [
  ['the composition root of the master using a scheduler', 'master/main.ts', "import { b } from '../schedulers/task/b.ts'"],
  ['the master using its state', 'master/a.ts', "import { b } from './state/b.ts'"],
  ['a comment that names an import', 'base/a.ts', "// import x from '../agent/b.ts'\n/* from '../agent/b.ts' */"],
  ['a neighbour', 'agent/images/a.ts', "import { b } from '../host/b.ts'"],
  ['a folder inside using its room', 'agent/host/a.ts', "import { b } from '../ports.ts'"]
]

t.test('what is allowed is let through', async (t) => {
  for (const [sentence, file, text] of allowedOnes) t.strictSame(complaints(file, text), [], sentence)
})
