import type { Machine } from './machine.ts'

/** Of the single task that the master answers with, what the tests look at. */
export interface Task {
  readonly name: string
  readonly state: string
  readonly reason: string | null
  readonly exitCode: number | null
  readonly containerId: string | null
}

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

/** The operator API over bash's own TCP: each `hearth` would start a node, which takes seconds in an emulated machine. */
const api = `api() {
  exec 5<>/dev/tcp/127.0.0.1/7340
  printf '%s %s HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: Bearer %s\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s' \\
    "$1" "$2" "$(cat /var/lib/hearth/token)" "\${#3}" "$3" >&5
  sed '1,/^\\r$/d' <&5
  exec 5>&-
}`

const quoted = (value: unknown): string => `'${JSON.stringify(value).replaceAll("'", `'\\''`)}'`

export async function startTask(machine: Machine, task: Readonly<Record<string, unknown>>): Promise<void> {
  const answer = JSON.parse(
    await machine.tell(`${api}; api POST /v1/tasks ${quoted({ image: 'host', network: 'none', ...task })}`)
  )
  if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
}

export async function listTasks(machine: Machine): Promise<readonly Task[]> {
  return JSON.parse(await machine.tell(`${api}; api GET /v1/tasks`)).tasks
}

/** Asks again and again, but waits in the machine, until `count` tasks are in the state. */
export const tasksAre = (machine: Machine, state: string, count: number): Promise<string> =>
  machine.tell(
    `${api}; until [ "$(api GET /v1/tasks | grep -o '"state":"${state}"' | wc -l)" -ge ${count} ]; do sleep 0.3; done`,
    20 + 2 * count
  )

/** Waits until the named task has ended. */
export async function ended(machine: Machine, name: string): Promise<Task> {
  return JSON.parse(await machine.tell(`${api}; api GET '/v1/tasks/${name}/wait'`, 60))
}

/** Tasks that count the seconds in their logs, each with limits of its own. */
export async function startCrowd(machine: Machine, count: number): Promise<void> {
  const program = ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done']
  const tasks = Array.from({ length: count }, (_, i) => ({
    ...{ name: `crowd-${i}`, image: 'host', network: 'none', arguments: program },
    ...{ milliCpu: i < 2 ? 500 : undefined, memoryBytes: (20 + i) * 1024 * 1024 }
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
