import { join } from 'node:path'
import { silentLog } from '../../base/log.ts'
import { decodeArrived } from '../../master/consensus/arrival.ts'
import { genesisOf } from '../../master/consensus/membership.ts'
import { Snapshotter } from '../../master/consensus/snapshotter.ts'
import { apply } from '../../master/state/apply.ts'
import { ClusterState } from '../../master/state/cluster.ts'
import { systemDisk } from '../../master/store/disk.ts'
import { snapshotBytes } from '../../master/store/snapshots.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Command } from '../../proto/gen/messages.ts'
import { scalar } from '../../proto/resources.ts'
import { tasksAgents as agents, rounds, type SnapshotFigures, type SnapshotOrder } from './snapshot-order.ts'
import { percentile, spreadOf } from './statistics.ts'

const clusterId = 'c'.repeat(32)

/** A process of its own: how long its turns are hangs on how its memory is set up, which is that of a master. */
async function measure({ tasks, directory }: SnapshotOrder): Promise<SnapshotFigures> {
  const state = stateWith(tasks)
  const membership = genesisOf([{ raftId: 1, nodeId: 'n', address: '', agentAddress: '' }])
  const snapshotter = new Snapshotter({ disk: systemDisk, log: silentLog }, { directory, nodeId: 'n', genesis: membership })
  await snapshotter.load()
  const taker = { releaseReserve: () => Promise.resolve(false), taken: () => Promise.resolve() }
  let taken: readonly number[] = []
  let arrived: readonly number[] = []
  const tookMs: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const startMs = performance.now()
    taken = taken.concat(await pausesOf(() => snapshotter.take(state, 1, membership, taker)))
    tookMs.push(performance.now() - startMs)
    const data = await snapshotBytes(systemDisk, join(directory, 'snapshots'), state.index)
    const other = new ClusterState()
    const snapshot = { index: state.index, term: 1, confState: membership, data }
    arrived = arrived.concat(await pausesOf(() => inTurns(decodeArrived(snapshot, clusterId), (one) => other.become(one.state))))
    if (other.assignments.size !== tasks) throw new Error('the snapshot that arrived is another')
  }
  const longest = (pauses: readonly number[]): number => pauses.reduce((most, one) => Math.max(most, one), 0)
  return {
    tookMs,
    taken: { ...spreadOf(taken), longestMs: longest(taken) },
    arrived: { ...spreadOf(arrived), longestMs: longest(arrived) },
    p999Ms: percentile(taken.concat(arrived), 0.999)
  }
}

process.on('message', (order: SnapshotOrder) => {
  measure(order).then(
    (figures) => process.send?.(figures),
    (e: unknown) => {
      process.stderr.write(`${String(e)}\n`)
      process.exit(1)
    }
  )
})

/** Milliseconds of each turn of the event loop until `work` is done. */
async function pausesOf(work: () => Promise<unknown>): Promise<readonly number[]> {
  const pauses: number[] = []
  let isOver = false
  let lastMs = performance.now()
  const look = (): void => {
    const nowMs = performance.now()
    pauses.push(nowMs - lastMs)
    lastMs = nowMs
    if (!isOver) setImmediate(look)
  }
  setImmediate(look)
  await work()
  isOver = true
  await new Promise((resolve) => setImmediate(resolve))
  return pauses
}

/** As the master does it: one step in each turn. */
function inTurns<T>(steps: Generator<undefined, T>, done: (value: T) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const goOn = (): void => {
      try {
        const step = steps.next()
        if (step.done !== true) setImmediate(goOn)
        else {
          done(step.value)
          resolve()
        }
      } catch (e) {
        reject(e as Error)
      }
    }
    goOn()
  })
}

function stateWith(tasks: number): ClusterState {
  const state = new ClusterState()
  let index = 0
  const give = (command: Init<Command>): void => {
    index += 1
    const { refused, message } = apply(state, completeMessage('Command', { atMs: index, ...command }), index)
    if (refused) throw new Error(message)
  }
  give({ initCluster: { clusterId } })
  give({ registerFramework: { framework: { frameworkId: 'f', name: 'f', roles: ['*'] } } })
  const resources = [scalar('cpus', 100), scalar('mem', 64 * 1024 * 1024)]
  for (let i = 0; i < agents; i += 1) give({ registerAgent: { agentId: `agent-${i}`, hostname: `host-${i}`, resources } })
  const wish = Buffer.alloc(400, 'a wish; ')
  for (let i = 0; i < tasks; i += 1) {
    const taskId = `${String(i).padStart(8, '0')}${'t'.repeat(24)}`
    give({ storeTransaction: { frameworkId: 'f', writes: [{ key: `task/${taskId}`, value: wish }] } })
    const assignment = { frameworkId: 'f', taskId, attempt: 1, agentId: `agent-${i % agents}`, containerId: 'c'.repeat(32) }
    give({ assignTask: { ...assignment, specDigest: 'd'.repeat(64), leaseClass: '', role: '*', resources } })
  }
  return state
}
