import type { PlantedBug } from './bugs.ts'

/** Mistakes in what surrounds the core: log, recovery, snapshots, sessions, answers. */
export const bugsOfTheDriver: readonly PlantedBug[] = [
  {
    name: 'acknowledges without a sync',
    file: 'store/wal.ts',
    find: 'await this.#writeSlice(writeAllSynced)',
    replace: 'await this.#writeSlice()'
  },
  {
    name: 'goes on after a failed sync',
    file: 'store/wal.ts',
    find: 'batch.settle(this.#fail(e))',
    replace: 'batch.settle()'
  },
  {
    name: 'a new segment forgets term and vote',
    file: 'store/wal.ts',
    find: 'hardState: this.#writtenHardState, acknowledgedIndex',
    replace: 'hardState: noHardState, acknowledgedIndex'
  },
  {
    name: 'a truncation is not written',
    file: 'store/wal.ts',
    find: 'return this.#enqueue([{ truncate: { fromIndex } }])',
    replace: 'return Promise.resolve()'
  },
  {
    name: 'cuts off what was acknowledged',
    file: 'store/recovery.ts',
    find: 'if (proof >= 0) throw corrupt(',
    replace: 'if (proof < -1) throw corrupt('
  },
  {
    name: 'takes a torn write whose sectors came out of order for damage',
    file: 'store/torn-write.ts',
    find: 'if (!isOfSameWrite || !isHole) return head',
    replace: 'if (head > at) return head'
  },
  {
    name: 'records do not tell what is durable before them',
    file: 'store/wal.ts',
    find: 'this.#syncedBytes = this.#position\n  }\n\n  /** Everything in the old',
    replace: '}\n\n  /** Everything in the old'
  },
  {
    name: 'promises in a segment whose name is not durable',
    file: 'store/wal.ts',
    find: '    await disk.syncDirectory(directory)\n    const found',
    replace: '    const found'
  },
  {
    name: 'votes do not tell what is committed',
    file: 'consensus/host.ts',
    find: 'tellCommitInVotes: true',
    replace: 'tellCommitInVotes: false'
  },
  {
    name: 'does not write again what no sync vouches for',
    file: 'store/wal.ts',
    find: 'await writeAll(file, tail.rewrite, tail.rewriteAt)',
    replace: ''
  },
  {
    name: 'keeps its log under the snapshot of another',
    file: 'consensus/log-store.ts',
    find: 'await this.#wal.reset(index)\n    this.#tail',
    replace: 'this.#tail'
  },
  {
    name: 'forgets the vote that its log has',
    file: 'consensus/log-store.ts',
    find: 'vote: term === hardState.term ? vote : 0',
    replace: 'vote: 0'
  },
  {
    name: 'a vote alone is not written',
    file: 'consensus/log-store.ts',
    find: 'if (first === undefined && !isPromise) return before',
    replace: 'if (first === undefined) return before'
  },
  {
    name: 'sends what a write promises before it is done',
    file: 'consensus/host.ts',
    find: '    written.then(',
    replace: '    Promise.resolve().then('
  },
  {
    name: 'applies again what a snapshot has overtaken',
    file: 'consensus/state-machine.ts',
    find: 'if (entry.index <= state.index) return',
    replace: ''
  },
  {
    name: 'answers a read before it is applied',
    file: 'consensus/pending-reads.ts',
    find: 'const ready = this.#due.filter((due) => due.index <= index)',
    replace: 'const ready = this.#due'
  },
  {
    name: 'a repeat counts twice',
    file: 'state/apply.ts',
    find: 'const repeated = last !== undefined && seq === last.seq',
    replace: 'const repeated = last === undefined && seq === 0'
  },
  {
    name: 'a snapshot leaves the sessions out',
    file: 'state/snapshot.ts',
    find: 'sessions: [...state.sessions],',
    replace: 'sessions: [],'
  }
]
