import { join } from 'node:path'
import type { Bench } from '../bench.ts'
import { daemon, type Ensemble, freePorts, Server } from './ensemble.ts'

interface Status {
  readonly leader?: string
  readonly header?: { readonly member_id?: string }
}

/** Default timing and sync, on loopback without TLS. */
export async function startEtcd(bench: Bench, program: string): Promise<Ensemble> {
  const ports = await freePorts(6)
  const peers = [0, 1, 2].map((i) => `http://127.0.0.1:${ports[i]}`)
  const cluster = peers.map((url, i) => `m${i}=${url}`).join(',')
  const members = peers.map((peer, i) => {
    const client = `http://127.0.0.1:${ports[3 + i]}`
    const words = [
      ...[program, '--name', `m${i}`, '--data-dir', join(bench.folder('etcd'), `m${i}`), '--log-level', 'error'],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--initial-cluster', cluster, '--initial-cluster-state', 'new']
    ]
    return new Server(bench, `etcd ${i}`, ports[3 + i] ?? 0, () => daemon(bench, `etcd-${i}`, words))
  })
  for (const member of members) member.start()
  const leader = async () => {
    for (const member of members) if (await leads(member.port)) return member
    return undefined
  }
  return { system: 'etcd', members, leader }
}

async function leads(port: number): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(500)
    const response = await fetch(`http://127.0.0.1:${port}/v3/maintenance/status`, { method: 'POST', body: '{}', signal })
    const { leader, header } = (await response.json()) as Status
    return leader !== undefined && leader !== '0' && leader === header?.member_id
  } catch {
    return false // it is down, or does not know yet: asked again
  }
}
