import { Fault } from '../../base/fault.ts'
import type { Bench, Outcome } from './bench.ts'
import type { Words } from './command.ts'
import { Appender } from './ledger.ts'
import { type Ensemble, leaderOf } from './raft/ensemble.ts'
import { goalsOf } from './raft/goals.ts'
import { measureParts, missingOf, type Part, Parts, type Plan } from './raft/parts.ts'
import { rowsOf } from './raft/rows.ts'
import { type System, systems } from './raft/store-client.ts'
import { type Contestant, contestants } from './raft/systems.ts'
import { spreadOf } from './statistics.ts'

/** What the bench of consensus takes beside what all take. */
export interface RaftWish {
  readonly isLong: boolean
  readonly kills: number
  readonly freezes: number
  readonly only: readonly System[]
  readonly resume: string | undefined
}

export const raftFlags = { texts: ['kills', 'freezes', 'only', 'resume'], switches: ['long'] } as const

const defaults = { kills: 200, freezes: 50 }
const longSeconds = 120

export function raftWishOf(words: Words): RaftWish {
  const only = words.text('only')?.split(',') ?? systems
  const stranger = only.find((name) => !systems.some((system) => system === name))
  if (stranger !== undefined) throw new Fault('invalid', `--only takes ${systems.join(', ')}, not ${JSON.stringify(stranger)}`)
  return {
    isLong: words.has('long'),
    kills: words.number('kills', 0) ?? defaults.kills,
    freezes: words.number('freezes', 0) ?? defaults.freezes,
    only: only as readonly System[],
    resume: words.text('resume')
  }
}

/**
 * Three durable members of each system as processes on this machine, one system after the other, with the same generator: writes
 * and linearizable reads, what they take of memory, and how long nobody can write when the leader is killed or stopped.
 */
export async function raft(bench: Bench): Promise<Outcome> {
  const { isLong, kills, freezes, only, resume } = bench.raft
  const plan: Plan = { seconds: isLong ? longSeconds : bench.n, kills, freezes }
  const parts = new Parts(resume)
  const all = contestants(bench).filter(({ system }) => only.includes(system))
  const syncs = await syncsOfDisk(bench)
  for (const contestant of all) await contend(bench, contestant, plan, parts)
  const of = (system: System, name: string): Part | undefined => parts.of(system, name)
  return {
    rows: [{ name: '256 bytes and fdatasync, alone', ...spreadOf(syncs) }, ...all.flatMap((one) => rowsOf(one, of))],
    goals: goalsOf(of),
    notes: [
      ...all.map(({ name, version, missing }) =>
        missing === undefined ? `${name} ${version}`.trim() : `${name} was not measured: ${missing}.`
      ),
      'Values of 256 bytes on 1,000 keys, 4 connections to the leader, plain on loopback; servers and generator share the machine.',
      'Hearth: the scheduler store’s put through `replica`, each lane a session of its own (exactly once), the real state machine, over',
      'frames of protobuf. How much of a win is the wire: the rows behind etcd’s wire ask the same members with etcd’s own client.',
      'ZooKeeper’s reads are sync and getData, which is weaker than a linearizable read. A kill: from the signal to the first',
      'acknowledged write that was started after it; writes start every 5 ms at each survivor. Not here: TLS, and agents.'
    ]
  }
}

async function contend(bench: Bench, contestant: Contestant, plan: Plan, parts: Parts): Promise<void> {
  const wanted = missingOf(parts, contestant.system, plan)
  if (contestant.missing !== undefined || wanted.length === 0) return
  const ensemble: Ensemble = await contestant.start()
  await leaderOf(ensemble)
  await measureParts(bench, ensemble, wanted, plan, parts)
  for (const member of ensemble.members) await member.kill()
}

const syncs = 500

async function syncsOfDisk(bench: Bench): Promise<readonly number[]> {
  bench.progress('the disk')
  const appender = await Appender.start(bench, 'file of zeros')
  return await appender.order({ appends: syncs, atOnce: 1 })
}
