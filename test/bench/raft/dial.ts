import { dialEtcd } from './etcd-client.ts'
import { dialHearth } from './hearth-client.ts'
import type { Dial, System } from './store-client.ts'
import { dialZookeeper } from './zookeeper-client.ts'

/** Behind etcd's own wire Hearth is asked by the very client that asks etcd. */
export const dials: Readonly<Record<System, Dial>> = {
  hearth: dialHearth,
  'hearth-http2': dialEtcd,
  etcd: dialEtcd,
  zookeeper: dialZookeeper
}
