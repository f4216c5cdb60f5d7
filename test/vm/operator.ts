import type { Machine } from './machine.ts'

/** Of the single task that the master answers with, what the tests look at. */
export interface Task {
  readonly name: string
  readonly state: string
  readonly reason: string | null
  readonly message: string | null
  readonly exitCode: number | null
  readonly containerId: string | null
  readonly attempt: number
}

/**
 * The operator API over bash's own TCP: each `hearth` would start a node, which takes seconds in an emulated machine.
 * Nothing is answered, and nothing said, while no master listens.
 */
export const api = `api() {
  exec 5<>/dev/tcp/127.0.0.1/7340 || return 0
  printf '%s %s HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: Bearer %s\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s' \\
    "$1" "$2" "$(cat /var/lib/hearth/token)" "\${#3}" "$3" >&5
  sed '1,/^\\r$/d' <&5
  exec 5>&-
} 2> /dev/null`

export const quoted = (value: unknown): string => `'${JSON.stringify(value).replaceAll("'", `'\\''`)}'`

export async function startTask(machine: Machine, task: Readonly<Record<string, unknown>>): Promise<void> {
  const answer = JSON.parse(
    await machine.tell(`${api}; api POST /v1/tasks ${quoted({ image: 'host', network: 'none', ...task })}`)
  )
  if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
}

export async function listTasks(machine: Machine): Promise<readonly Task[]> {
  return JSON.parse(await machine.tell(`${api}; api GET /v1/tasks`)).tasks
}

/**
 * Asks again and again, but waits in the machine, until `count` tasks are in the state; their attempts have states of their own.
 * Throws what failed tasks say.
 */
export async function tasksAre(machine: Machine, state: string, count: number): Promise<void> {
  const are = (wanted: string): string => `grep -o '],"state":"${wanted}"' <<< "$tasks" | wc -l`
  await machine.tell(
    `${api}; until tasks=$(api GET /v1/tasks); [ "$(${are(state)})" -ge ${count} ] || [ "$(${are('failed')})" -gt 0 ]; do sleep 0.3; done`,
    20 + 4 * count
  )
  const failed = (await listTasks(machine)).filter((task) => task.state === 'failed')
  if (failed.length > 0) throw new Error(failed.map((task) => `${task.name}: ${task.reason} ${task.message}`).join('\n'))
}

/** Waits until the named task has ended. */
export async function ended(machine: Machine, name: string): Promise<Task> {
  return JSON.parse(await machine.tell(`${api}; api GET '/v1/tasks/${name}/wait'`, 60))
}

/** Waits until the agent of this moment runs and the master counts its node among those that run tasks. */
export const nodeIsActive = (machine: Machine): Promise<string> =>
  machine.tell(
    `${api}
    until systemctl --quiet is-active hearth-agent && api GET /v1/nodes | grep -q '"condition":"active".*"connected":true'
    do sleep 0.2; done`,
    60
  )
