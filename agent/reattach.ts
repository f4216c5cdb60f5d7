import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../base/log.ts'
import type { Observed, Runtime } from '../isolators/runtime/runtime.ts'
import type { Ledger } from './ports.ts'
import { type RecoveryAction, recover } from './recovery.ts'
import type { TaskRunner } from './task-runner.ts'
import type { Tasks } from './tasks.ts'

interface Parts {
  readonly ledger: Ledger
  readonly runtime: Runtime
  readonly tasks: Tasks
  readonly log: Log
}

interface Config {
  readonly runDir: string
  readonly bootId: string
}

/** Looks at what the kernel shows, lets recovery.ts decide, and sets the tasks going again. Resolves when all are under way. */
export async function reattach(parts: Parts, config: Config): Promise<void> {
  const { ledger, runtime, tasks, log } = parts
  const bundles = await readdir(join(config.runDir, 'c')).catch(() => []) // no container was ever made here
  const observed = new Map<string, Observed>()
  for (const id of new Set([...ledger.view.tasks.keys(), ...bundles])) observed.set(id, await runtime.inspect(id))
  const plans = new Map<string, RecoveryAction[]>([...ledger.view.tasks.keys()].map((id) => [id, []]))
  for (const action of recover(ledger.view, { bootId: config.bootId, observed })) {
    log.info({ action: action.kind, containerId: action.containerId }, 'task.recovered')
    plans.get(action.containerId)?.push(action)
  }
  for (const [containerId, actions] of plans) {
    const row = ledger.view.tasks.get(containerId)?.row
    if (row !== undefined && row.group !== null) tasks.recovered(row, (runner) => carryOut(parts, runner, actions))
  }
}

async function carryOut(parts: Parts, runner: TaskRunner, actions: readonly RecoveryAction[]): Promise<void> {
  const [first] = actions
  if (first === undefined) return runner.settle()
  if ('killRequested' in first && first.killRequested) runner.decideKill()
  switch (first.kind) {
    case 'reattach':
      return runner.follow(first.container)
    case 'kill':
      runner.decideKill()
      return runner.follow(first.container)
    case 'report-ended':
      return runner.endUnseen(first.exit)
    case 'report-lost':
      return runner.endUnseen(
        first.killRequested
          ? { kind: 'lost', why: first.message }
          : { state: 'failed', reason: first.reason, message: first.message }
      )
    case 'report-killed':
      await parts.runtime.endLaunch(runner.containerId)
      return runner.endUnseen({ state: 'killed', reason: 'killed_during_launch', message: 'killed as asked before it ran' })
    case 'clean-up':
      return actions.some((a) => a.kind === 'relaunch') ? relaunch(parts, runner) : runner.settle(true)
    case 'relaunch':
      return relaunch(parts, runner)
    case 'unowned':
      return undefined
  }
}

/** Only what never ran is started again; the half of a launch that the last agent left is stopped first. */
async function relaunch(parts: Parts, runner: TaskRunner): Promise<void> {
  if ((await parts.runtime.endLaunch(runner.containerId)) === 'may-have-run') {
    return runner.endUnseen({
      state: 'failed',
      reason: 'exit_unknown',
      message: 'the agent was stopped while it started the container, which may have run'
    })
  }
  await runner.clear()
  return parts.tasks.launchRecovered(runner)
}
