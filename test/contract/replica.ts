import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import type { AppliedChange, ProposeOutcome, Replica, ReplicaCommand } from '../../master/replica.ts'
import type { ClusterState } from '../../master/state/cluster.ts'
import { encodeSnapshot, freezeState } from '../../master/state/snapshot.ts'

export interface ReplicaUnderTest {
  /** Leads. */
  readonly replica: Replica
  readonly state: ClusterState
  stop(): Promise<void>
  /** Stops it and opens it again from the same disk, leading. */
  restart(): Promise<ReplicaUnderTest>
}

/** Each call gives a new, empty cluster; what it opens is closed by `t.teardown`. */
export type MakeReplica = (t: Test) => Promise<ReplicaUnderTest>

type Applied = Extract<ProposeOutcome, { readonly kind: 'applied' }>

/**
 * Every replica must pass this: one voter, many voters, and the one that often does not know. A proposal whose fate is unknown
 * is repeated under the same session and seq, as callers do.
 */
export function replicaContract(t: Test, make: MakeReplica): void {
  answers(t, make)
  sessions(t, make)
  reading(t, make)
  watching(t, make)
  lifetime(t, make)
}

function answers(t: Test, make: MakeReplica): void {
  t.test('a proposal is applied, and answered with its index and the term', async (t) => {
    const { replica, state } = await make(t)
    const applied = await decide(replica, 'a', 1, framework('one'))
    t.equal(applied.answer.refused, false)
    t.equal(applied.term, replica.leadership.term)
    t.ok(state.index >= applied.index)
    t.ok(state.frameworks.has('one'))
  })

  t.test('a command that cannot be honoured is recorded as refused and harms nobody', async (t) => {
    const { replica, state } = await make(t)
    const refused = await decide(replica, 'a', 1, { forgetTask: { frameworkId: 'none', taskId: 'none' } })
    t.match(refused.answer, { refused: true, code: 'not-found' })
    await decide(replica, 'a', 2, framework('after'))
    t.ok(state.frameworks.has('after'))
  })

  t.test('proposals made together are applied in the order in which they were made', async (t) => {
    const { replica, state } = await make(t)
    await decide(replica, 'a', 1, framework('f'))
    const together = Array.from({ length: 200 }, (_, i) => replica.propose(`s${i}`, 1, put('f', `k${i}`, i), never()))
    const indexes = (await Promise.all(together)).flatMap((outcome) => (outcome.kind === 'applied' ? [outcome.index] : []))
    t.same(
      indexes,
      [...new Set(indexes)].sort((x, y) => x - y),
      'indexes ascend'
    )
    for (let i = 0; i < 200; i += 1) await decide(replica, `s${i}`, 1, put('f', `k${i}`, i))
    t.equal(state.storeOf('f').size, 200)
  })

  t.test('a command over the size limit is refused and leaves no trace', async (t) => {
    const { replica, state } = await make(t)
    const value = new Uint8Array(15 * 1024 * 1024)
    const command = { storeTransaction: { frameworkId: 'f', writes: [{ key: 'big', value }] } }
    let outcome = await replica.propose('a', 1, command, never())
    for (let i = 0; outcome.kind === 'unknown' && i < 100; i += 1) outcome = await replica.propose('a', 1, command, never())
    t.match(outcome, { kind: 'refused', reason: 'too-large' })
    t.notOk(state.sessions.has('a'))
  })

  t.test('an aborted signal ends the wait with unknown; a repeat then tells what became of it', async (t) => {
    const { replica, state } = await make(t)
    const controller = new AbortController()
    const outcome = replica.propose('a', 1, framework('maybe'), controller.signal)
    controller.abort()
    t.same(await outcome, { kind: 'unknown' })
    t.same(await replica.propose('b', 1, framework('never'), AbortSignal.abort()), { kind: 'unknown' })
    const applied = await decide(replica, 'a', 1, framework('maybe'))
    t.equal(applied.answer.refused, false)
    t.ok(state.frameworks.has('maybe'))
  })
}

function sessions(t: Test, make: MakeReplica): void {
  t.test('a repeat under the same session and seq is applied once and gets the same answer', async (t) => {
    const { replica, state } = await make(t)
    await decide(replica, 'a', 1, framework('f'))
    const first = await decide(replica, 'a', 2, put('f', 'k', 1))
    const again = await decide(replica, 'a', 2, put('f', 'k', 1))
    t.same(again.answer, first.answer)
    t.equal(state.storeOf('f').get('k')?.version, first.answer.version, 'the row was written once')
  })

  t.test('two repeats at the same time are applied once', async (t) => {
    const { replica, state } = await make(t)
    await decide(replica, 'a', 1, framework('f'))
    const both = [1, 2].map(() => decide(replica, 'a', 2, { storeTransaction: { frameworkId: 'f', ...onlyIfAbsent('k') } }))
    for (const { answer } of await Promise.all(both)) t.equal(answer.refused, false)
    t.equal(state.storeOf('f').size, 1)
  })

  t.test('a seq below the last one of its session is refused as a conflict', async (t) => {
    const { replica, state } = await make(t)
    await decide(replica, 'a', 1, framework('one'))
    await decide(replica, 'a', 5, framework('five'))
    const late = await decide(replica, 'a', 3, framework('three'))
    t.match(late.answer, { refused: true, code: 'conflict' })
    t.notOk(state.frameworks.has('three'))
  })
}

function reading(t: Test, make: MakeReplica): void {
  t.test('a read sees every write that was acknowledged before it', async (t) => {
    const { replica, state } = await make(t)
    await decide(replica, 'a', 1, framework('f'))
    for (let i = 1; i <= 20; i += 1) {
      const { index } = await decide(replica, 'b', i, put('f', 'k', i))
      t.ok((await replica.read(never())) >= index)
      t.same(state.storeOf('f').get('k')?.value, Uint8Array.of(i))
    }
  })

  t.test('a read with an aborted signal rejects', async (t) => {
    const { replica } = await make(t)
    await t.rejects(replica.read(AbortSignal.abort()))
  })
}

function watching(t: Test, make: MakeReplica): void {
  t.test('changes come in order and without a gap, old ones and those still to come', async (t) => {
    const { replica } = await make(t)
    await decide(replica, 'a', 1, framework('f'))
    const controller = new AbortController()
    const seen = collect(replica.changes(1, controller.signal), (c) => keyOf(c) === 'k30', controller)
    let last = 0
    for (let i = 1; i <= 30; i += 1) last = (await decide(replica, 'b', i, put('f', `k${i}`, i))).index
    const changes = await seen
    t.same(
      changes.map((c) => c.index),
      changes.map((_, i) => i + 1)
    )
    t.ok(changes.length >= last)
    const keys = changes.map(keyOf).filter((key) => key !== undefined)
    t.same(
      keys,
      Array.from({ length: 30 }, (_, i) => `k${i + 1}`),
      'each write once, also where it was proposed again'
    )
  })

  t.test('changes tell refusals with their answer', async (t) => {
    const { replica } = await make(t)
    const { index } = await decide(replica, 'a', 1, { forgetTask: { frameworkId: 'f', taskId: 't' } })
    const controller = new AbortController()
    const [change] = await collect(replica.changes(index, controller.signal), () => true, controller)
    t.match(change, { index, answer: { refused: true, code: 'not-found' } })
  })

  t.test('changes end when their signal aborts', async (t) => {
    const { replica } = await make(t)
    const controller = new AbortController()
    const seen = collect(replica.changes((await replica.read(never())) + 1, controller.signal), () => false, controller)
    controller.abort()
    t.same(await seen, [])
  })
}

function lifetime(t: Test, make: MakeReplica): void {
  t.test('whoever watches leadership hears of the gain at once and of the loss', async (t) => {
    const { replica, stop } = await make(t)
    const heard: string[] = []
    replica.leadership.watch(({ kind, term }) => heard.push(`${kind} ${term}`), never())
    const controller = new AbortController()
    replica.leadership.watch(({ kind }) => heard.push(`second ${kind}`), controller.signal)
    controller.abort()
    const { term } = replica.leadership
    t.ok(replica.leadership.leading)
    await stop()
    t.notOk(replica.leadership.leading)
    t.same(heard, [`gained ${term}`, 'second gained', `lost ${term}`])
  })

  t.test('a stopped replica refuses what comes later', async (t) => {
    const { replica, stop } = await make(t)
    await stop()
    t.match(await replica.propose('a', 1, framework('late'), never()), { kind: 'refused', reason: 'stopping' })
    await t.rejects(replica.read(never()))
  })

  t.test('a restart keeps every acknowledged write and every session, under a higher term', async (t) => {
    const before = await make(t)
    await decide(before.replica, 'a', 1, framework('f'))
    for (let i = 1; i <= 50; i += 1) await decide(before.replica, 'b', i, put('f', `k${i % 7}`, i))
    const term = before.replica.leadership.term
    const last = await decide(before.replica, 'b', 50, put('f', 'k1', 50))
    const rows = content(before.state)
    const after = await before.restart()
    t.ok(after.replica.leadership.term > term)
    t.same(content(after.state), rows)
    t.ok((await after.replica.read(never())) > last.index)
    t.same((await decide(after.replica, 'b', 50, put('f', 'k1', 50))).answer, last.answer)
    t.match((await decide(after.replica, 'b', 49, put('f', 'k1', 49))).answer, { refused: true, code: 'conflict' })
  })
}

export const never = (): AbortSignal => new AbortController().signal

export const framework = (frameworkId: string): ReplicaCommand => ({
  registerFramework: { framework: { frameworkId, name: frameworkId, roles: ['*'] } }
})

export const put = (frameworkId: string, key: string, byte: number): ReplicaCommand => ({
  storeTransaction: { frameworkId, writes: [{ key, value: Uint8Array.of(byte) }] }
})

/** Repeats under the same session and seq while the outcome is unknown, or the log asks for patience: its leadership is moving. */
export async function decide(replica: Replica, session: string, seq: number, command: ReplicaCommand): Promise<Applied> {
  for (let i = 0; i < 200; i += 1) {
    const outcome = await replica.propose(session, seq, command, never())
    if (outcome.kind === 'applied') return outcome
    const isBusy = outcome.kind === 'refused' && outcome.reason === 'overloaded'
    if (outcome.kind !== 'unknown' && !isBusy) throw new Error(`not applied: ${JSON.stringify(outcome)}`)
    if (isBusy) await pause(10)
  }
  throw new Error('neither applied nor refused 200 times in a row')
}

/** Everything but the head, whose index and term a restart moves on, and the sessions' use. */
export function content(state: ClusterState): string {
  const frozen = freezeState(state, { nodeId: '', term: 0 })
  const [, ...chunks] = encodeSnapshot({ ...frozen, sessions: [] })
  return Buffer.concat(chunks).toString('base64')
}

const onlyIfAbsent = (key: string) => ({ conditions: [{ key, version: 0 }], writes: [{ key, value: Uint8Array.of(1) }] })

const keyOf = (change: AppliedChange): string | undefined => change.command.storeTransaction?.writes[0]?.key

async function collect(
  changes: AsyncIterable<AppliedChange>,
  isLast: (change: AppliedChange) => boolean,
  controller: AbortController
): Promise<AppliedChange[]> {
  const seen: AppliedChange[] = []
  for await (const change of changes) {
    seen.push(change)
    if (isLast(change)) controller.abort()
  }
  return seen
}
