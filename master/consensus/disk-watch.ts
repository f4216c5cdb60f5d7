import { lastIndexOf } from '../raft/log.ts'
import { message } from '../raft/message.ts'
import type { Raft } from '../raft/raft.ts'
import { act } from '../raft/step.ts'
import type { LogStore } from './log-store.ts'

/** A leader whose disk hangs or is full gives up its place: its heartbeats would keep a cluster waiting that could go on. */
export class DiskWatch {
  readonly #store: LogStore
  readonly #patienceTicks: number
  #writing = 0
  #ticks = 0
  /** When the last write ended, or the first of those under way began. */
  #since = 0
  #handedOverAt = Number.NEGATIVE_INFINITY

  constructor(store: LogStore, patienceTicks: number) {
    this.#store = store
    this.#patienceTicks = patienceTicks
  }

  get isWriting(): boolean {
    return this.#writing > 0
  }

  began(): void {
    if (this.#writing === 0) this.#since = this.#ticks
    this.#writing += 1
  }

  ended(): void {
    this.#writing -= 1
    this.#since = this.#ticks
  }

  /** True while a write has been under way for longer than followers wait before they elect another. */
  tick(raft: Raft): boolean {
    this.#ticks += 1
    if (this.#store.wal.isFull && this.#ticks % this.#patienceTicks === 0) this.#store.wal.relieve()
    const isStuck = raft.role === 'leader' && this.#writing > 0 && this.#ticks - this.#since > this.#patienceTicks
    const isUnfit = isStuck || (raft.role === 'leader' && this.#store.wal.isFull)
    if (isUnfit && this.#ticks - this.#handedOverAt > this.#patienceTicks) {
      this.#handedOverAt = this.#ticks
      handOver(raft)
    }
    return isStuck
  }
}

/** To that voter, or to the one that lacks least; false where it, or every other, does not answer. */
export function handOver(raft: Raft, to?: number): boolean {
  const { incoming } = raft.tracker.config.voters
  const others = incoming.flatMap((id) => {
    const progress = raft.tracker.progress.get(id)
    const isAble = id !== raft.options.id && progress !== undefined && progress.recentActive && (to === undefined || id === to)
    return isAble ? [{ id, match: progress.match }] : []
  })
  const [best] = others.sort((a, b) => b.match - a.match)
  if (best === undefined || lastIndexOf(raft.log) === 0) return false
  const m = message('transfer-leader', 0)
  m.from = best.id
  act(raft, m)
  return true
}
