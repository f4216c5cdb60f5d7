import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { instrument } from './points.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** A checkout of one file. */
function pointsOf(t: Test, text: string): { readonly names: readonly string[]; readonly source: string } {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-points-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(join(directory, 'agent'))
  for (const name of ['package.json', 'tsconfig.json']) cpSync(join(root, name), join(directory, name))
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  writeFileSync(join(directory, 'agent/main.ts'), text)
  const { points, sources } = instrument(directory, ['agent/main.ts'])
  return { names: points.map((p) => `${p.name} ${p.shape}`), source: [...sources.values()][0] ?? '' }
}

t.test('calls, methods and functions passed on become points, whatever they are called in the file', async (t) => {
  const { names, source } = pointsOf(
    t,
    `import * as files from 'node:fs'
import { type FileHandle, readFile as slurp, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from 'node:net'
export const port = { rename, put: (h: FileHandle, b: Uint8Array) => h.write(b) }
export class Reader {
  async read(path: string): Promise<string> {
    files.statSync(join(path, 'a'))
    files.statSync(join(path, 'b'))
    return await slurp(path, 'utf8')
  }
}
export function talk(path: string): void {
  const socket = connect(path)
  socket.on('data', () => socket?.end('bye'))
}
`
  )
  t.strictSame(names, [
    'agent/main.ts:Reader.read:slurp promise',
    'agent/main.ts:Reader.read:statSync sync',
    'agent/main.ts:Reader.read:statSync#2 sync',
    'agent/main.ts:port.put:write promise',
    'agent/main.ts:port:rename promise',
    'agent/main.ts:talk:connect emitter',
    'agent/main.ts:talk:end send'
  ])
  t.match(source, `{ rename: __hearthFail.f("agent/main.ts:port:rename", 'promise', rename), `)
  t.match(source, `__hearthFail.m("agent/main.ts:talk:end", 'send', socket, 'end')?.('bye')`)
  t.notMatch(source, `__hearthFail.f("agent/main.ts:Reader.read:join"`, 'a path leaves nothing')
})
