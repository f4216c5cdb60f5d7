import { systemClock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { MembersFacts, MemberView } from '../../sdk/raft-messages.ts'
import { type CommonOptions, type Context, writeOut } from '../context.ts'
import { usage } from '../failure.ts'

const settlePatienceMs = 120_000
const pollMs = 200
/** As near as this to the leader's log is level: consensus/change-plan.ts. */
const levelWithin = 64

/** Adds waiting masters one after the other and resolves once each is a voter, or a learner that has caught up. */
export async function addMembers(context: Context, addresses: readonly string[], options: CommonOptions): Promise<number> {
  const { raft } = context.client(options)
  const added: number[] = []
  for (const address of addresses) added.push((await raft.add(address, context.signal)).raftId)
  const members: MemberView[] = []
  for (const raftId of added) members.push(await settled(context, options, raftId))
  const { members: all } = await raft.members(context.signal)
  const now = members.map((member) => all.find((one) => one.raftId === member.raftId) ?? member)
  const text = now.map(({ raftId, address, role }) => `${addressed(raftId, address)} is a ${role}${waits(role, all)}\n`).join('')
  await tell(context, options, { members: now }, text)
  return 0
}

export async function removeMember(context: Context, id: string, options: CommonOptions): Promise<number> {
  const raftId = memberId(id)
  await context.client(options).raft.remove(raftId, context.signal)
  await tell(
    context,
    options,
    { removed: raftId },
    `member ${raftId} is no member any more: stop it, and remove its state directory\n`
  )
  return 0
}

export async function replaceMember(context: Context, id: string, address: string, options: CommonOptions): Promise<number> {
  const raftId = memberId(id)
  const by = await context.client(options).raft.replace(raftId, address, context.signal)
  await tell(context, options, { replaced: raftId, by }, `${addressed(by.raftId, address)} stands where member ${raftId} stood\n`)
  return 0
}

export async function transferLeadership(context: Context, id: string | undefined, options: CommonOptions): Promise<number> {
  const { raft } = context.client(options)
  const to = id === undefined ? undefined : memberId(id)
  const { from } = await raft.transfer(to, context.signal)
  for (const until = systemClock.monotonicMs() + settlePatienceMs; ; ) {
    const { leader } = await raft.members(context.signal)
    if (leader !== 0 && (to === undefined ? leader !== from : leader === to)) {
      await tell(context, options, { from, to: leader }, `member ${leader} leads\n`)
      return 0
    }
    if (systemClock.monotonicMs() >= until) throw new Fault('timeout', 'no other master took over: see hearth raft status')
    await systemClock.sleep(pollMs, context.signal)
  }
}

export async function takeSnapshot(context: Context, options: CommonOptions): Promise<number> {
  const { snapshotIndex } = await context.client(options).raft.snapshot(context.signal)
  await tell(context, options, { snapshotIndex }, `the leader has a snapshot of entry ${snapshotIndex}\n`)
  return 0
}

/** Once it is a voter, or has caught up and waits to be one. */
async function settled(context: Context, options: CommonOptions, raftId: number): Promise<MemberView> {
  const { raft } = context.client(options)
  for (const until = systemClock.monotonicMs() + settlePatienceMs; ; ) {
    const facts = await raft.members(context.signal)
    const member = facts.members.find((one) => one.raftId === raftId)
    if (member !== undefined && (member.role === 'voter' || isLastOne(member, facts))) return member
    if (systemClock.monotonicMs() >= until) {
      const why = member?.problem ? `: ${member.problem}` : ''
      throw new Fault('timeout', `member ${raftId} has not caught up yet${why}; it goes on learning: see hearth raft status`)
    }
    await systemClock.sleep(pollMs, context.signal)
  }
}

/** It has caught up, and its vote would leave an even number of voters. */
function isLastOne({ own }: MemberView, { members, leader }: MembersFacts): boolean {
  const committed = members.find((one) => one.raftId === leader)?.own?.committed ?? Number.POSITIVE_INFINITY
  const isLevel = own !== null && own.applied > 0 && own.applied + levelWithin >= committed
  const count = (role: string): number => members.filter((one) => one.role === role).length
  return isLevel && count('learner') === 1 && count('voter') % 2 === 1
}

const addressed = (raftId: number, address: string): string => `member ${raftId} (${address})`

const waits = (role: string, all: readonly MemberView[]): string =>
  role === 'learner' && all.filter((m) => m.role === 'voter').length % 2 === 1
    ? ' that has caught up: it votes as soon as one more is added, since an even number of voters helps nobody'
    : ''

function memberId(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw usage(`a member is named by its number in hearth raft status, not ${JSON.stringify(text)}`)
  return Number(text)
}

async function tell(context: Context, options: CommonOptions, facts: unknown, text: string): Promise<void> {
  await writeOut(context.streams.stdout, options.json === true ? `${JSON.stringify(facts, null, 2)}\n` : text)
}
