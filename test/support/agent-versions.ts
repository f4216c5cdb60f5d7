import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Plugin } from 'esbuild'

// setup/ is plain JavaScript, because it runs before anything is installed.
interface Build {
  bundle(
    program: { readonly name: string; readonly source: string },
    version: string,
    more: { readonly define: Readonly<Record<string, string>>; readonly plugins: readonly Plugin[] }
  ): Promise<Uint8Array>
}

/** One place of the sources as another version has it. */
export interface Edit {
  readonly file: string
  readonly find: string
  readonly put: string
}

/** Writes `agent.cjs` of these sources as another version: with a ledger level of its own, and broken where `edits` say so. */
export async function buildAgentVersion(
  root: string,
  directory: string,
  { version, level, edits = [] }: { readonly version: string; readonly level: number; readonly edits?: readonly Edit[] }
): Promise<void> {
  const { bundle } = (await import(pathToFileURL(join(root, 'setup/build.mjs')).href)) as Build
  const more = { define: { HEARTH_LEDGER_LEVEL: String(level) }, plugins: edits.map((edit) => edited(root, edit)) }
  const bytes = await bundle({ name: 'agent', source: 'agent/main.ts' }, version, more)
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'agent.cjs'), bytes, { mode: 0o755 })
}

function edited(root: string, { file, find, put }: Edit): Plugin {
  const path = join(root, file)
  const source = readFileSync(path, 'utf8')
  if (!source.includes(find)) throw new Error(`${file} has no ${JSON.stringify(find)} any more: this version needs another edit`)
  const contents = source.replace(find, () => put)
  return {
    name: `edit-${file}`,
    setup: (build) =>
      build.onLoad({ filter: new RegExp(`/${file.replaceAll('.', '\\.')}$`) }, () => ({ contents, loader: 'ts' as const }))
  }
}
