import { mkdirSync, rmSync } from 'node:fs'
import type { Test } from 'tap'
import type { Leases } from '../../agent/lease/leases.ts'
import type { NamedDevices } from '../../agent/named-devices.ts'
import type { Ledger } from '../../agent/ports.ts'
import { reattach } from '../../agent/reattach.ts'
import type { StatusOutbox } from '../../agent/status-outbox.ts'
import type { Tasks } from '../../agent/tasks.ts'
import { type Clock, systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { LaunchAnswer, TaskDefinition, TaskStatus } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { agentPlace, buildAgent, openPlaceLedger } from './agent-build.ts'
import { until } from './until.ts'

/** One life of an agent over the host's directory, without a master. */
export interface HostLife {
  readonly tasks: Tasks
  readonly ledger: Ledger
  readonly runtime: Runtime
  readonly outbox: StatusOutbox
  readonly leases: Leases
  launch(task: Init<TaskDefinition>): Promise<Init<LaunchAnswer> | undefined>
  /** As a master does: one launch for each of its tasks. */
  launchPod(
    containers: readonly Init<TaskDefinition>[],
    more?: { readonly shareProcesses?: boolean }
  ): Promise<{ readonly sandboxId: string; readonly answers: readonly (Init<LaunchAnswer> | undefined)[] }>
  kill(taskId: string): Promise<void>
  /** As they stand in the ledger, all attempts in order. */
  statuses(taskId: string): readonly TaskStatus[]
  /** Resolves with the newest status of the task once one holds. */
  told(taskId: string, holds: (status: TaskStatus) => boolean): Promise<TaskStatus>
  /** As if the process were killed: nothing that this agent waits for goes on. Containers do. */
  crash(): Promise<void>
}

export interface TaskHost {
  readonly directory: string
  readonly cgroupParent: string
  begin(bootId?: string, devices?: NamedDevices): Promise<HostLife>
}

/** Time for one life: when it crashes nobody wakes any more. */
class MortalClock implements Clock {
  readonly #death = new AbortController()
  readonly monotonicMs = systemClock.monotonicMs
  readonly wallMs = systemClock.wallMs

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    await systemClock.sleep(ms, AbortSignal.any([signal, this.#death.signal])).catch(async (e: unknown) => {
      if (this.#death.signal.aborted) await new Promise(() => undefined)
      throw e
    })
  }

  die(): void {
    this.#death.abort()
  }
}

/**
 * Real containers under the agent's own tasks, with the agent's crash and the node's reboot at the test's word. `isolatorPauseMs`: the
 * isolators pause no longer than this between two looks. `isolators`: beyond Hearth's own.
 */
export function taskHost(
  t: Test,
  { isolatorPauseMs = Number.POSITIVE_INFINITY, isolators = [] as readonly Isolator[] } = {}
): TaskHost {
  const place = agentPlace()
  const { directory, cgroupParent, runDir } = place
  let life: HostLife | undefined

  t.teardown(async () => {
    if (life !== undefined) {
      for (const runner of life.tasks.list()) await runner.kill({ signal: '', graceMs: 0 })
      await life.tasks.stopAll(AbortSignal.timeout(30_000))
      await life.tasks.idle()
      await life.outbox.stop()
      await life.leases.stop()
      await life.runtime.stop()
      await life.ledger.close()
    }
    rmSync(directory, { recursive: true, force: true })
  })

  const begin = async (bootId = 'boot-1', devices: NamedDevices = new Map()): Promise<HostLife> => {
    const clock = new MortalClock()
    mkdirSync(runDir, { recursive: true })
    const ledger = await openPlaceLedger(place, silentLog)
    let dead = false
    const { runtime, leases, outbox, tasks } = buildAgent(place, {
      ...{ ledger, clock, log: silentLog, bootId, isolators, agentId: 'a'.repeat(32), devices },
      rotation: { watch: () => undefined, unwatch: async () => undefined },
      sleep: (ms, signal) => clock.sleep(Math.min(ms, isolatorPauseMs), signal),
      limits: { launchesAtOnce: 2, maxTasks: 100, attemptsKept: 2 },
      onBroken: (error) => {
        if (!dead) throw error
      }
    })
    await runtime.start()
    await leases.start()
    await reattach({ ledger, runtime, tasks, log: silentLog }, { runDir, bootId, isWhole: true })
    const statuses = (taskId: string): readonly TaskStatus[] =>
      [...ledger.view.tasks.values()]
        .filter(({ row }) => row.group?.tasks[0]?.taskId === taskId)
        .flatMap((task) => task.unacknowledged)
        .sort((a, b) => a.number - b.number)
    const made: HostLife = {
      tasks,
      ledger,
      runtime,
      outbox,
      leases,
      launch: (task) => {
        const definition = completeMessage('TaskDefinition', { image: 'b', network: { mode: 'none' }, ...task })
        const group = completeMessage('TaskGroup', { frameworkId: 'f', role: '*', tasks: [definition] })
        const containerId = newContainerId()
        return tasks.launch({ epoch: 1, clusterId: '', group, attempt: 1, containerId, specDigest: '', pod: null })
      },
      async launchPod(containers, { shareProcesses = false } = {}) {
        const definitions = containers.map((task) =>
          completeMessage('TaskDefinition', { image: 'b', network: { mode: 'none' }, ...task })
        )
        const group = completeMessage('TaskGroup', { frameworkId: 'f', role: '*', tasks: definitions, shareProcesses })
        const members = definitions.map(() => ({ containerId: newContainerId(), attempt: 1 }))
        const pod = { sandboxId: newContainerId(), members }
        const sent = members.map(({ containerId }) =>
          tasks.launch({ epoch: 1, clusterId: '', group, attempt: 1, containerId, specDigest: '', pod })
        )
        return { sandboxId: pod.sandboxId, answers: await Promise.all(sent) }
      },
      kill: (taskId) => tasks.kill({ epoch: 1, frameworkId: 'f', taskId, attempt: 1, policy: { signal: '', graceMs: 0 } }),
      statuses,
      async told(taskId, holds) {
        await until(() => statuses(taskId).some(holds))
        return statuses(taskId).find(holds) as TaskStatus
      },
      async crash() {
        dead = true
        leases.disconnect()
        await Promise.all([outbox.stop(), runtime.stop()])
        clock.die()
        await ledger.close()
        life = undefined
      }
    }
    life = made
    return made
  }
  return { directory, cgroupParent, begin }
}
