import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { errnoOf } from '../../base/fault.ts'
import type { Limits } from '../isolator.ts'
import { type CgroupLayout, unifiedDirectory } from './layout.ts'
import { planCgroup, planClassic } from './plan.ts'
import { pidsIn } from './population.ts'
import { killCgroup, makeCgroup, makeClassicCgroup, removeCgroups } from './tree.ts'
import { readOomKills } from './usage.ts'

/** A bounded cgroup for one short program of the host, on v1, v2 and hybrid hosts alike. */
export interface ProgramCgroup {
  /** The command line that enters it and then becomes the program: nothing of the program ever runs outside. */
  enter(command: readonly string[]): readonly string[]
  /** Ends everything in it, also what has left its process group. */
  kill(): void
  /** How often the kernel found its memory full and killed something. */
  oomKills(): number
  /** Ends what is left in it, then removes it. */
  remove(): Promise<void>
}

/** Exit code of the words that enter where there is no cgroup to enter; 126 and 127 are a shell's, for what it cannot run. */
export const notEntered = 125

/** `$$` is the shell, and after `exec` the program. */
const enterScript = `while [ "$1" != -- ]; do echo $$ > "$1" || exit ${notEntered}; shift; done; shift; exec "$@"`

const killRounds = 100
const killPauseMs = 10

/** Makes it. Rejects with the error of the cgroup file system that refuses it. */
export async function programCgroup(layout: CgroupLayout, path: string, limits: Limits): Promise<ProgramCgroup> {
  const directories = await make(layout, path, limits)
  return {
    enter: (command) => {
      const procs = directories.map((directory) => join(directory, 'cgroup.procs'))
      return ['/bin/sh', '-c', enterScript, 'sh', ...procs, '--', ...command]
    },
    kill: () => killAll(layout, path),
    oomKills: () => readOomKills(layout, path),
    remove: () => removeProgramCgroup(layout, path, directories)
  }
}

/** Also for one that another process made and left. */
export async function removeProgramCgroup(layout: CgroupLayout, path: string, directories: readonly string[]): Promise<void> {
  // A process that sleeps in the kernel goes when it wakes; on v1 one may have been born between the look and the signal.
  for (let round = 0; round < killRounds && pidsIn(layout, path).length > 0; round += 1) {
    killAll(layout, path)
    await delay(killPauseMs)
  }
  await removeCgroups(directories)
}

async function make(layout: CgroupLayout, path: string, limits: Limits): Promise<readonly string[]> {
  const own = unifiedDirectory(layout, path)
  if (layout.mode === 'v2') {
    if (layout.unified !== undefined) await makeCgroup(layout.unified, path, planCgroup(limits))
    return own === undefined ? [] : [own]
  }
  // The bare tree beside the classic ones limits nothing, but has cgroup.kill.
  if (layout.unified !== undefined) await makeCgroup(layout.unified, path, [])
  const made = new Set(own === undefined ? [] : [own])
  for (const { controller, writes } of planClassic(limits)) {
    const mount = layout.classic.get(controller)
    if (mount === undefined) continue // a capability that the node lacks: its health says so
    await makeClassicCgroup(join(mount, path), writes)
    made.add(join(mount, path))
  }
  return [...made]
}

function killAll(layout: CgroupLayout, path: string): void {
  const own = unifiedDirectory(layout, path)
  if (own !== undefined) killCgroup(own)
  for (const pid of pidsIn({ ...layout, unified: undefined }, path)) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (e) {
      if (errnoOf(e) !== 'ESRCH') throw e
    }
  }
}
