import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { CampaignPlace } from '../campaign.ts'

/** What masters of the older build know. */
export const olderLevel = 1

interface Bundler {
  readonly programs: readonly { readonly name: string; readonly source: string }[]
  bundle(program: object, version: string, more: { readonly plugins: readonly object[] }): Promise<Uint8Array>
}

interface Build {
  onLoad(of: { readonly filter: RegExp }, load: () => { readonly contents: string; readonly loader: 'ts' }): void
}

/** The same sources, but for the highest feature level that they know: what a release before this one would be. */
export async function buildOlder({ root, directory }: CampaignPlace): Promise<string> {
  const bundler = (await import(pathToFileURL(join(root, 'setup/build.mjs')).href)) as Bundler
  const program = bundler.programs.find(({ name }) => name === 'master')
  if (program === undefined) throw new Error('setup/build.mjs knows no master')
  const path = join(root, 'master/state/cluster.ts')
  const before = readFileSync(path, 'utf8')
  const contents = before.replace(/(export const highestFeatureLevel = )\d+/, `$1${olderLevel}`)
  if (contents === before) throw new Error(`${path} does not say up to which feature level it goes`)
  const setup = (build: Build): void =>
    build.onLoad({ filter: /master\/state\/cluster\.ts$/ }, () => ({ contents, loader: 'ts' }))
  const bytes = await bundler.bundle(program, '0.0.0-older', { plugins: [{ name: 'older', setup }] })
  const folder = join(directory, 'older')
  if (!existsSync(folder)) mkdirSync(folder)
  writeFileSync(join(folder, 'master.cjs'), bytes)
  return join(folder, 'master.cjs')
}
