import { hearthVersion } from '../../base/version.ts'
import { completeMessage } from '../../proto/codec.ts'
import { hasUnknownFields } from '../../proto/fields.ts'
import type {
  LedgerHead,
  LedgerRecord,
  ObjectRow,
  QuarantineRow,
  StatusAcknowledgedRow,
  TaskRow,
  TaskStatus
} from '../../proto/gen/messages.ts'
import type { LedgerTask, LedgerView } from '../ports.ts'
import { ledgerLevel } from './level.ts'

const quarantineRowsKept = 100
/** Rows that a newer version wrote at a level that this one reads too; the oldest go first. */
const unknownRowsKept = 10_000

/** One member of a record without its sequence: what a snapshot is made of. */
export type LedgerFact = Partial<Omit<LedgerRecord, 'sequence'>>

interface Task extends LedgerTask {
  row: TaskRow
  kill: LedgerTask['kill']
  readonly objects: Map<string, ObjectRow>
  latest: TaskStatus | null
  readonly unacknowledged: TaskStatus[]
  doubtful: boolean
}

/** The live state that a sequence of records leads to. `apply` is deterministic and reaches nothing outside. */
export class LedgerState implements LedgerView {
  head: LedgerHead = { format: ledgerLevel, agentId: '', clusterId: '', epoch: 0, version: hearthVersion }
  readonly tasks = new Map<string, Task>()
  readonly objects = new Map<string, ObjectRow>()
  readonly quarantined: QuarantineRow[] = []
  readonly #unknown: LedgerFact[] = []
  nextStatusNumber = 1

  apply(record: LedgerFact): void {
    if (record.head) this.head = record.head
    else if (record.task) this.#task(record.task.containerId, record.task).row = record.task
    else if (record.restart) this.#restart(record.restart)
    else if (record.pod) for (const row of record.pod.rows) this.#task(row.containerId, row).row = row
    else if (record.object) this.#object(record.object)
    else if (record.status) this.#status(record.status)
    else if (record.acknowledged) this.#acknowledged(record.acknowledged)
    else if (record.kill) this.#task(record.kill.containerId).kill = record.kill
    else if (record.forget) this.tasks.delete(record.forget.containerId)
    else if (record.quarantine) this.#quarantine(record.quarantine)
    else if (hasUnknownFields(record)) this.#keep(record)
  }

  /**
   * Records that lead from nothing to this state. Tasks whose later records were lost stand before the quarantine rows, as
   * they did in the damaged file. The head stands first and last, so that no single damage can take the agent's identity.
   */
  *facts(): Generator<LedgerFact> {
    yield { head: this.head }
    // A status number is used once, ever, even where every status is forgotten.
    if (this.nextStatusNumber > 1) yield { acknowledged: { number: this.nextStatusNumber - 1 } }
    for (const task of this.tasks.values()) if (task.doubtful) yield* taskFacts(task)
    for (const row of this.quarantined) yield { quarantine: row }
    for (const task of this.tasks.values()) if (!task.doubtful) yield* taskFacts(task)
    for (const object of this.objects.values()) yield { object }
    yield* this.#unknown
    yield { head: this.head }
  }

  #task(containerId: string, row?: TaskRow): Task {
    let task = this.tasks.get(containerId)
    if (task === undefined) {
      const known = row ?? completeMessage('TaskRow', { containerId })
      task = { row: known, kill: null, objects: new Map(), latest: null, unacknowledged: [], doubtful: false }
      this.tasks.set(containerId, task)
    }
    return task
  }

  /** The next attempt of a task runs what the one before it ran. */
  #restart(row: TaskRow): void {
    const before = this.tasks.get(row.previousContainerId)
    const whole = { ...row, group: before?.row.group ?? null }
    this.#task(row.containerId, whole).row = whole
  }

  #object(row: ObjectRow): void {
    const key = `${row.kind}:${row.id}`
    if (row.phase === 'released') {
      const objects = row.containerId === '' ? this.objects : this.tasks.get(row.containerId)?.objects
      objects?.delete(key)
      return
    }
    const objects = row.containerId === '' ? this.objects : this.#task(row.containerId).objects
    objects.set(key, row)
  }

  #status(status: TaskStatus): void {
    this.nextStatusNumber = Math.max(this.nextStatusNumber, status.number + 1)
    const task = this.#task(status.containerId)
    task.latest = status
    task.unacknowledged.push(status)
  }

  #acknowledged(row: StatusAcknowledgedRow): void {
    this.nextStatusNumber = Math.max(this.nextStatusNumber, row.number + 1)
    for (const { unacknowledged } of this.tasks.values()) {
      const at = unacknowledged.findIndex((status) => status.number === row.number)
      if (at < 0) continue
      unacknowledged.splice(at, 1)
      return
    }
  }

  /** A record of a kind that only a newer version knows: nothing here reads it, and it is there for that version again. */
  #keep(record: LedgerFact): void {
    this.#unknown.push(record)
    if (this.#unknown.length > unknownRowsKept) this.#unknown.shift()
  }

  #quarantine(row: QuarantineRow): void {
    this.quarantined.push(row)
    if (this.quarantined.length > quarantineRowsKept) this.quarantined.shift()
    for (const task of this.tasks.values()) task.doubtful = true
  }
}

function* taskFacts(task: Task): Generator<LedgerFact> {
  const { row, latest, unacknowledged } = task
  yield { task: row }
  for (const object of task.objects.values()) yield { object }
  if (task.kill !== null) yield { kill: task.kill }
  for (const status of unacknowledged) yield { status }
  if (latest !== null && unacknowledged.at(-1)?.number !== latest.number) {
    yield { status: latest }
    yield { acknowledged: { number: latest.number } }
  }
}
