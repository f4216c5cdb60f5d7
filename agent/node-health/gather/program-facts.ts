import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Exec } from '../../../base/exec.ts'
import { isFault } from '../../../base/fault.ts'
import { parseAdjtimex, parseChrony, parseTimedatectl, type SyncFacts } from '../checks/clock.ts'
import type { RuntimeFacts } from '../checks/runtimes.ts'
import { parseUnits, type UnitFacts } from '../checks/units.ts'
import type { NodeRoots } from './roots.ts'

/** What only other programs know. Each has a few seconds; one that is not there tells nothing. */

interface Parts {
  readonly exec: Exec
  readonly roots: NodeRoots
}

const patienceMs = 5_000

async function said(exec: Exec, program: string, args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
  try {
    const { stdout } = await exec.run(program, args, { timeoutMs: patienceMs, maxOutputBytes: 64 * 1024 }, signal)
    return stdout
  } catch (e) {
    if (isFault(e)) return undefined
    throw e
  }
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false
  )

/** Asks in turn what may know: the kernel by way of systemd, chrony, timesyncd's mark, the kernel by way of busybox. */
export async function readClockSync({ exec, roots }: Parts, signal: AbortSignal): Promise<SyncFacts | undefined> {
  const systemd = await isThere(join(roots.run, 'systemd/system'))
  const chrony = parseChrony((await said(exec, 'chronyc', ['-c', 'tracking'], signal)) ?? '')
  if (chrony !== undefined) return chrony
  const told = systemd ? parseTimedatectl((await said(exec, 'timedatectl', ['show'], signal)) ?? '') : undefined
  if (told !== undefined) return told
  if (await isThere(join(roots.run, 'systemd/timesync/synchronized'))) return { source: 'timesyncd', synchronised: true }
  return parseAdjtimex((await said(exec, 'busybox', ['adjtimex'], signal)) ?? '')
}

/**
 * runc and crun make themselves a file in /tmp to run from, and remove it (`cloned_binary.c`, `try_bindfd`): on most hosts a
 * write to the disk with every look. Where this directory is not there either of them runs from memory.
 */
const leaveNoFile = { _LIBCONTAINER_STATEDIR: '/dev/shm' }

export async function readRuntimes(
  exec: Exec,
  programs: Readonly<Record<RuntimeFacts['program'], string>>,
  signal: AbortSignal
): Promise<readonly RuntimeFacts[]> {
  const of = async (program: RuntimeFacts['program']): Promise<RuntimeFacts> => {
    try {
      const options = { timeoutMs: patienceMs, env: leaveNoFile }
      const { code, stdout, stderr } = await exec.run(programs[program], ['--version'], options, signal)
      if (code === 0) return { program, said: { text: stdout } }
      return { program, said: { failure: `${programs[program]} --version ended with ${code}: ${stderr}` } }
    } catch (e) {
      if (isFault(e)) return { program, said: { failure: e.message } }
      throw e
    }
  }
  return await Promise.all([of('conmon'), of('runc'), of('crun')])
}

const units = ['hearth-agent.service', 'hearth-master.service', 'hearth-workloads.slice', 'hearth-containers.scope']

export async function readUnits({ exec, roots }: Parts, signal: AbortSignal): Promise<readonly UnitFacts[] | 'not-systemd'> {
  if (!(await isThere(join(roots.run, 'systemd/system')))) return 'not-systemd'
  const properties = '--property=Id,LoadState,ActiveState,SubState,NRestarts'
  return parseUnits((await said(exec, 'systemctl', ['show', properties, ...units], signal)) ?? '')
}
