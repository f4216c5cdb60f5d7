import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import type { ConsensusConfig } from '../../master/consensus/compose.ts'
import { openReplica } from '../../master/consensus/open-replica.ts'
import type { Replica } from '../../master/replica.ts'
import { newClusterId, newNodeId } from '../../proto/ids.ts'
import { type ReplicaUnderTest, replicaContract } from '../contract/replica.ts'
import { unknownReplica } from '../support/unknown-replica.ts'

const parts = { log: silentLog, clock: systemClock }

async function newConfig(t: Test): Promise<ConsensusConfig> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-replica-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return { directory, clusterId: newClusterId(), nodeId: newNodeId(), segmentBytes: 16 * 1024, snapshotEveryBytes: 8 * 1024 }
}

async function underTest(t: Test, config: ConsensusConfig, wrap: (replica: Replica) => Replica): Promise<ReplicaUnderTest> {
  const replica = await openReplica(parts, config)
  t.teardown(() => replica.close())
  return {
    replica: wrap(replica),
    state: replica.state,
    stop: () => replica.close(),
    async restart() {
      await replica.close()
      return await underTest(t, config, wrap)
    }
  }
}

t.test('one voter keeps the contract', async (t) => {
  replicaContract(t, async (t) => underTest(t, await newConfig(t), (replica) => replica))
})

t.test('a replica that often does not know keeps the contract', async (t) => {
  replicaContract(t, async (t) => underTest(t, await newConfig(t), (replica) => unknownReplica(replica, seededRandom(7))))
})
