import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { masterHeap } from '../../../cli/supervise-main.ts'
import { newClusterId, newNodeId } from '../../../proto/ids.ts'
import type { Bench } from '../bench.ts'
import { type Ensemble, freePorts, type Member, Server } from './ensemble.ts'
import type { System } from './store-client.ts'

/** As `hearth master` sets up its log. */
const segmentBytes = 16 * 1024 * 1024

export async function startHearth(bench: Bench, system: System): Promise<Ensemble> {
  const ports = await freePorts(9)
  const [clusterId, peerToken] = [newClusterId(), 'the secret of the masters']
  const founders = [0, 1, 2].map((i) => ({
    raftId: i + 1,
    nodeId: newNodeId(),
    address: `tcp:127.0.0.1:${ports[i]}`,
    agentAddress: ''
  }))
  const leading = new Set<number>()
  const members = founders.map(({ raftId, nodeId }, i): Member => {
    const [peerPort = 0, clientPort = 0, http2Port = 0] = [ports[i], ports[3 + i], ports[6 + i]]
    const directory = join(bench.folder(system), String(raftId))
    const config = { directory, clusterId, nodeId, raftId, founders, segmentBytes, peerToken }
    const order = { config: { ...config, peerListen: { host: '127.0.0.1', port: peerPort } }, clientPort, http2Port }
    const spawnIt = (): ChildProcess => {
      const env = { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8' }
      const words = [JSON.stringify(order)]
      const child = fork(join(import.meta.dirname, 'raft-member.mjs'), words, { env, detached: true, execArgv: [masterHeap] })
      child.on('message', ({ kind }: { readonly kind: string }) => {
        if (kind === 'gained') leading.add(raftId)
        if (kind === 'lost') leading.delete(raftId)
      })
      child.once('exit', () => leading.delete(raftId))
      return child
    }
    return new Server(bench, `${system} ${raftId}`, system === 'hearth' ? clientPort : http2Port, spawnIt)
  })
  for (const member of members) member.start()
  const leader = (): Promise<Member | undefined> => Promise.resolve(members.find((_, i) => leading.has(i + 1)))
  return { system, members, leader }
}
