import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench } from '../bench.ts'
import { firstLine } from '../machine.ts'
import type { Ensemble } from './ensemble.ts'
import { startEtcd } from './start-etcd.ts'
import { startHearth } from './start-hearth.ts'
import { startZookeeper } from './start-zookeeper.ts'
import type { System } from './store-client.ts'

export interface Contestant {
  readonly system: System
  readonly name: string
  readonly version: string
  /** Undefined where it can be started; else why it cannot. */
  readonly missing: string | undefined
  start(): Promise<Ensemble>
}

/**
 * Debian's packages etcd-server and zookeeper, installed, or unpacked with `dpkg -x` below the folder that HEARTH_BENCH_PEERS
 * names: nothing of them needs to run by itself.
 */
export function contestants(bench: Bench): readonly Contestant[] {
  const base = process.env['HEARTH_BENCH_PEERS'] ?? '/'
  const etcd = join(base, 'usr/bin/etcd')
  const share = join(base, 'usr/share/java')
  const hasZookeeper = existsSync(join(share, 'zookeeper.jar'))
  const hasJava = firstLine('java', ['-version']) !== 'absent'
  return [
    hearth(bench, 'hearth', 'hearth'),
    hearth(bench, 'hearth-http2', 'hearth behind etcd’s wire'),
    {
      system: 'etcd',
      name: 'etcd',
      version: firstLine(etcd, ['--version']),
      missing: existsSync(etcd)
        ? undefined
        : `there is no ${etcd}: install etcd-server, or name its folder in HEARTH_BENCH_PEERS`,
      start: () => startEtcd(bench, etcd)
    },
    {
      system: 'zookeeper',
      name: 'ZooKeeper',
      version: zookeeperVersion(share),
      missing:
        hasZookeeper && hasJava
          ? undefined
          : 'there is no zookeeper.jar or no java: install zookeeper, or see HEARTH_BENCH_PEERS',
      start: () => startZookeeper(bench, 'java', share)
    }
  ]
}

const hearth = (bench: Bench, system: System, name: string): Contestant => ({
  system,
  name,
  version: '',
  missing: undefined,
  start: () => startHearth(bench, system)
})

function zookeeperVersion(share: string): string {
  const files = existsSync(share) ? readdirSync(share) : []
  return files.map((file) => /^zookeeper-(\d[\d.]*\d)\.jar$/.exec(file)?.[1]).find((version) => version !== undefined) ?? 'absent'
}
