import type { Machine } from './machine.ts'
import { api, quoted, tasksAre } from './operator.ts'

/** A container as the kernel shows it: what must stay the same whatever becomes of the agent. */
export interface Facts {
  readonly containerId: string
  readonly pid: number
  /** Field 22 of /proc/PID/stat: with the pid it names the process. */
  readonly startTicks: number
  /** memory.max, cpu.max and pids.max of its cgroup. */
  readonly limits: readonly string[]
}

export const scope = '/sys/fs/cgroup/hearth.slice/hearth-workloads.slice/hearth-containers.scope'
const containers = `${scope}/????????????????????????????????`

/** They count the seconds in their logs, without a fork, and no SIGTERM ends them. */
const counting = ['bash', '-c', 'exec 3<> <(:); while :; do echo line $((++i)); read -t 1 -u 3; done']

/** Tasks with limits of their own each; the first `staying` of them come back after a reboot. */
export async function startCrowd(machine: Machine, count: number, staying: number): Promise<void> {
  const tasks = Array.from({ length: count }, (_, i) => ({
    ...{ name: `crowd-${i}`, image: 'host', network: 'none', arguments: counting },
    ...{ milliCpu: i < 2 ? 500 : undefined, memoryBytes: 16 * 1024 ** 2 + i * 256 * 1024 },
    ...(i < staying ? { restart: { policy: 'always' } } : {})
  }))
  await machine.tell([api, ...tasks.map((task) => `api POST /v1/tasks ${quoted(task)} > /dev/null`)].join('\n'))
  await tasksAre(machine, 'running', count)
}

/** All containers as the kernel shows them now, in the order of their ids. */
export async function readFacts(machine: Machine): Promise<readonly Facts[]> {
  const text = await machine.tell(`for cgroup in ${containers}; do
    id=\${cgroup##*/}; pid=$(cat /run/hearth-*/c/$id/pid)
    echo "$id|$pid|$(cut -d' ' -f22 /proc/$pid/stat)|$(cat $cgroup/memory.max)|$(cat $cgroup/cpu.max)|$(cat $cgroup/pids.max)"
  done`)
  return text.split('\n').map((line) => {
    const [containerId = '', pid, startTicks, ...limits] = line.split('|')
    return { containerId, pid: Number(pid), startTicks: Number(startTicks), limits }
  })
}

/** Containers whose log does not count from 1 upwards without a gap or a repetition. */
export const torn = (machine: Machine): Promise<string> =>
  machine.tell(`for log in /var/lib/hearth/agent/sandboxes/*/log; do
    awk '$4 == "line" && $5 != ++n { exit 1 }' $log || echo $log
  done`)
