import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { AgentConfig } from '../config.ts'
import { dockerProgramOf } from '../host/docker-program.ts'
import { startExec } from '../host/exec.ts'
import { placeWorkloads } from '../host/placement.ts'
import { readLedger } from '../ledger/read.ts'
import { type FsckReport, look } from './fsck.ts'

/** The same comparison from the agent's files alone. Changes nothing. */
export async function fsckWithoutAgent(config: AgentConfig): Promise<FsckReport> {
  const layout = readCgroupLayout()
  const placed = { stateDir: config.stateDir, cgroupParent: config.cgroupParent, chosen: config.cgroupParentChosen }
  const { cgroupParent } = await placeWorkloads({ clock: systemClock, log: silentLog, layout, unit: undefined }, placed)
  const state = await readLedger(join(config.stateDir, 'agent/ledger'))
  return look(
    { clock: systemClock, exec: startExec, view: () => state, quarantined: () => state.quarantined.length },
    {
      layout,
      cgroupParent,
      runDir: bootDirectoryOf(config.runDir),
      stateDir: config.stateDir,
      sandboxesDir: join(config.stateDir, 'agent/sandboxes'),
      agentId: state.head.agentId,
      dockerProgram: dockerProgramOf(config)
    }
  )
}

/** Where agent/host/boot-directory.ts has put the files that die with the boot. */
function bootDirectoryOf(runDir: string): string {
  try {
    return dirname(realpathSync(join(runDir, 'c')))
  } catch {
    return runDir // no agent ever ran here
  }
}
