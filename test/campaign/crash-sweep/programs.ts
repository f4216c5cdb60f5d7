import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildFailPoints } from '../../fail-points/build.ts'
import type { FailPoint } from '../../fail-points/points.ts'

export interface Built {
  readonly programs: string
  readonly points: readonly FailPoint[]
}

/** The agent as it is shipped: started with the machine code of an earlier run (setup/cached-start.cjs). */
export const startProgram = 'start-agent.cjs'
/** Without fail points: what the agent is started by, and what looks at the node once a minute. */
const asShipped = [startProgram, 'health.cjs']
export const cacheName = `agent-${process.versions.node}.cache`

/** The programs with fail points; built again only where the shipped ones, or what puts the points in, have changed. */
export async function buildPrograms(root: string): Promise<Built> {
  const programs = join(root, '.cache/fail-points', createHash('sha256').update(root).digest('hex').slice(0, 8))
  const stampPath = join(programs, 'stamp')
  const stamp = createHash('sha256')
  for (const name of ['agent.cjs', 'unpack.cjs', 'terminal.cjs', ...asShipped])
    stamp.update(readFileSync(join(root, 'dist', name)))
  for (const name of ['build', 'outside', 'points', 'shim']) stamp.update(readFileSync(join(root, `test/fail-points/${name}.ts`)))
  const text = stamp.digest('hex')
  if (existsSync(stampPath) && readFileSync(stampPath, 'utf8') === text) {
    return { programs, points: JSON.parse(readFileSync(join(programs, 'points.json'), 'utf8')) as readonly FailPoint[] }
  }
  mkdirSync(programs, { recursive: true })
  rmSync(stampPath, { force: true })
  rmSync(join(programs, cacheName), { force: true })
  const points = await buildFailPoints(root, programs)
  for (const name of asShipped) copyFileSync(join(root, 'dist', name), join(programs, name))
  // terminal.cjs looks for its native code beside itself.
  if (!existsSync(join(programs, 'koffi'))) symlinkSync(join(root, 'dist/koffi'), join(programs, 'koffi'))
  writeFileSync(stampPath, text)
  return { programs, points }
}
