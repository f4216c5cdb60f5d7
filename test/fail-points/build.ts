import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Plugin } from 'esbuild'
import { type FailPoint, instrument } from './points.ts'

/** setup/build.mjs: bundles one program as it is shipped, with plugins and a first import of ours. */
interface ShippedBuild {
  bundle(
    program: { readonly name: string; readonly source: string },
    version: string,
    more: { readonly first: string; readonly plugins: readonly Plugin[] }
  ): Promise<Uint8Array>
}

/** The agent and the programs that it starts of its own. */
const programs = [
  { name: 'agent', source: 'agent/main.ts' },
  { name: 'unpack', source: 'agent/images/unpack-main.ts' },
  { name: 'terminal', source: 'agent/host/terminal-main.ts' }
] as const

/** Builds the agent and its children into `outdir` with every outside call led through the shim. Returns all fail points. */
export async function buildFailPoints(root: string, outdir: string): Promise<readonly FailPoint[]> {
  const { bundle } = (await import(pathToFileURL(join(root, 'setup/build.mjs')).href)) as ShippedBuild
  const { points, sources } = instrument(
    root,
    programs.map((p) => p.source)
  )
  const plugin: Plugin = {
    name: 'fail-points',
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const contents = sources.get(path)
        return contents === undefined ? undefined : { contents, loader: 'ts' }
      })
    }
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string }
  mkdirSync(outdir, { recursive: true })
  for (const program of programs) {
    const bytes = await bundle(program, version, { first: `import './test/fail-points/shim.ts'\n`, plugins: [plugin] })
    writeFileSync(join(outdir, `${program.name}.cjs`), bytes, { mode: 0o755 })
  }
  // No Node program, and none of its calls is the agent's.
  copyFileSync(join(root, 'agent/lease/watchdog.pl'), join(outdir, 'lease-watchdog'))
  writeFileSync(join(outdir, 'points.json'), `${JSON.stringify(points, null, 2)}\n`)
  return points
}
