import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { within } from '../../../base/clock.ts'
import type { CampaignPlace } from '../campaign.ts'
import { cacheName } from './programs.ts'
import { Stage } from './stage.ts'

const warmMs = 20_000

/** Lets one agent live and run a task until it has left its machine code for the others, which have that much less to compile. */
export async function warm(programs: string, { directory, signal }: CampaignPlace): Promise<void> {
  const cache = join(programs, cacheName)
  if (existsSync(cache)) return
  const s = await Stage.open({ programs, directory: join(directory, 'warm') }, within(warmMs, signal))
  try {
    await s.begin()
    const task = s.task({ body: 'lines=1; echo 1' })
    await s.until('the first task to end', () => s.hasEnded(task))
    await s.until('the machine code', () => existsSync(cache))
    await s.stop()
  } finally {
    await s.close()
  }
}
