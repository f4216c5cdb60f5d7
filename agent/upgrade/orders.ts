import { Fault } from '../../base/fault.ts'

/** What launch-agent.sh tells the agent that it becomes (docs/decisions/0013). */
export interface UpgradeOrders {
  /** This version is on trial: its name, and that of the one to go back to. */
  readonly trial: { readonly candidate: string; readonly from: string } | undefined
  /** The version that was taken back to this one. */
  readonly reverted: string | undefined
  /** How long a version on trial lives before its second look, in ms. */
  readonly probationMs: number
  /** For each step of the self-test, in ms: less than the launcher waits, so that a version can still say what it cannot do. */
  readonly patienceMs: number
}

const probationDefaultMs = 15_000
/** As launch-agent.sh has it. */
const deadlineDefaultS = 30

/** Throws `Fault('invalid')`. */
export function readUpgradeOrders(env: Readonly<Record<string, string | undefined>>): UpgradeOrders {
  const candidate = env['HEARTH_UPGRADE_CANDIDATE'] ?? ''
  const from = env['HEARTH_UPGRADE_FROM'] ?? ''
  const probationMs = Number(env['HEARTH_UPGRADE_PROBATION_MS'] ?? probationDefaultMs)
  if (!Number.isInteger(probationMs) || probationMs < 0) {
    throw new Fault('invalid', 'HEARTH_UPGRADE_PROBATION_MS must be a whole number of milliseconds')
  }
  const deadlineS = Number(env['HEARTH_UPGRADE_DEADLINE_S'] || deadlineDefaultS)
  if (!Number.isInteger(deadlineS) || deadlineS <= 0) {
    throw new Fault('invalid', 'HEARTH_UPGRADE_DEADLINE_S must be a whole number of seconds, more than 0')
  }
  return {
    trial: candidate === '' ? undefined : { candidate, from },
    reverted: env['HEARTH_UPGRADE_REVERTED'] || undefined,
    probationMs,
    patienceMs: (deadlineS * 2_000) / 3
  }
}
