import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Exec } from '../../base/exec.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import { pidsIn } from '../../isolators/cgroup2/population.ts'
import type { Ledger, LedgerView } from '../ports.ts'
import { readProvenance } from '../rebuild.ts'
import { compare, countOrphans, type Finding, findingKey, fsckKinds, type OrphanCounts } from './compare.ts'
import { observe, type Places } from './observe.ts'
import { planRepair, type RepairAction, type RepairRules } from './plan.ts'
import { type RemoveParts, removeObject } from './remove.ts'

export interface FsckReport {
  readonly findings: readonly Finding[]
  readonly orphans: OrphanCounts
  /** Objects that were looked at, by kind. */
  readonly seen: OrphanCounts
  /** What could not be looked at, and why. */
  readonly unseen: readonly string[]
  readonly quarantined: number
  readonly tookMs: number
}

export interface Repair {
  readonly finding: Finding
  readonly action: 'adopted' | 'removed' | 'left' | 'failed'
  readonly why: string
}

interface LookParts {
  readonly clock: Clock
  readonly exec: Exec
  readonly view: () => LedgerView
  readonly quarantined: () => number
}

/**
 * Compares twice and tells what was found both times: between the look at the host and the look at the ledger a task may have
 * gone a step on. The ledger is read after the host, and every object has its row before it is made.
 */
export async function look({ clock, exec, view, quarantined }: LookParts, places: Places): Promise<FsckReport> {
  const startMs = clock.monotonicMs()
  let { seen, unseen } = await observe(places, exec)
  let findings = compare(view(), seen)
  if (findings.length > 0) {
    const before = new Set(findings.map(findingKey))
    ;({ seen, unseen } = await observe(places, exec))
    findings = compare(view(), seen).filter((f) => before.has(findingKey(f)))
  }
  const counts = Object.fromEntries(fsckKinds.map((kind) => [kind, seen.filter((s) => s.kind === kind).length]))
  return {
    findings,
    orphans: countOrphans(findings),
    seen: counts as FsckReport['seen'],
    unseen,
    quarantined: quarantined(),
    tookMs: Math.round(clock.monotonicMs() - startMs)
  }
}

interface Parts extends RemoveParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  /** Takes a running container of ours into the ledger (agent/reattach.ts). */
  readonly adopt: (containerId: string) => Promise<void>
}

interface Config {
  readonly places: Places
  readonly everyMs: number
  /** Nothing of the ledger was ever lost (agent/identity.ts). */
  readonly isWhole: boolean
}

/** Looks at start and every so often whether ledger and host agree. What is proven to be a dead orphan of ours goes at the start. */
export class Fsck implements Service {
  readonly name = 'fsck'
  readonly #parts: Parts
  readonly #config: Config
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined
  #orphans: OrphanCounts = countOrphans([])
  #told = ''

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    this.#loop = this.#again()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  /** As of the last look: `hearth_orphans{kind=}`. */
  orphans(): OrphanCounts {
    return this.#orphans
  }

  async check(): Promise<FsckReport> {
    const { ledger, clock, exec, log } = this.#parts
    const parts = { clock, exec, view: () => ledger.view, quarantined: () => ledger.quarantined.length }
    const report = await look(parts, this.#config.places)
    this.#orphans = report.orphans
    // The same findings again are no news, and a line of the log is a write.
    const told = report.findings.map(findingKey).join('\n')
    if (told !== this.#told) {
      for (const { kind, id, verdict, why } of report.findings) log.warn({ kind, id, verdict, why }, 'fsck.found')
      this.#told = told
    }
    return report
  }

  async repair(explicit = true): Promise<{ readonly report: FsckReport; readonly repairs: readonly Repair[] }> {
    const before = await this.check()
    const { findings } = before
    if (findings.length === 0) return { report: before, repairs: [] }
    const rules: RepairRules = { explicit, isWhole: this.#config.isWhole && this.#parts.ledger.quarantined.length === 0 }
    const repairs: Repair[] = []
    for (const action of planRepair(findings, (id) => this.#factsOf(id), rules)) repairs.push(await this.#carryOut(action))
    return { report: await this.check(), repairs }
  }

  async #again(): Promise<void> {
    const { clock, log } = this.#parts
    const { signal } = this.#stop
    for (let first = true; !signal.aborted; first = false) {
      try {
        if (first) await this.repair(false)
        else await this.check()
      } catch (error) {
        log.error({ error }, 'fsck.failed')
      }
      await clock.sleep(this.#config.everyMs, signal).catch(() => undefined) // stopping
    }
  }

  #factsOf(containerId: string): { readonly isAlive: boolean; readonly canAdopt: boolean } {
    const { layout, cgroupParent, runDir, agentId } = this.#config.places
    if (containerId === '') return { isAlive: false, canAdopt: false }
    const isAlive = pidsIn(layout, join(cgroupParent, containerId)).length > 0
    const hasRow = this.#parts.ledger.view.tasks.has(containerId)
    return { isAlive, canAdopt: isAlive && !hasRow && readProvenance(runDir, containerId)?.agentId === agentId }
  }

  async #carryOut({ kind, finding, why }: RepairAction): Promise<Repair> {
    const { ledger, log, adopt } = this.#parts
    if (kind === 'leave') return { finding, action: 'left', why }
    const about = { kind: finding.kind, id: finding.id, containerId: finding.containerId, why }
    try {
      if (kind === 'adopt') {
        if (!ledger.view.tasks.has(finding.containerId)) await adopt(finding.containerId)
        log.warn(about, 'orphan.adopted')
        return { finding, action: 'adopted', why }
      }
      const facts = this.#factsOf(finding.containerId)
      if (facts.isAlive) return { finding, action: 'left', why: 'something began to run in it' }
      await removeObject(this.#parts, this.#config.places, finding)
      log.warn(about, 'orphan.removed')
      return { finding, action: 'removed', why }
    } catch (error) {
      if (!isFault(error) && !(error instanceof Error && 'syscall' in error)) throw error
      log.error({ ...about, error }, 'orphan.not_repaired')
      return { finding, action: 'failed', why: error.message }
    }
  }
}
