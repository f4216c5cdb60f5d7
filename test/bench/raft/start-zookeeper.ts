import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Bench } from '../bench.ts'
import { daemon, type Ensemble, freePorts, Server } from './ensemble.ts'

/** What Debian's package puts on the class path of a server, without what it does not need here. */
const jars = [
  ...['zookeeper', 'zookeeper-jute', 'slf4j-api', 'slf4j-simple', 'metrics-core', 'snappy-java', 'commons-cli'],
  ...['netty-buffer', 'netty-common', 'netty-codec', 'netty-handler', 'netty-resolver', 'netty-transport'],
  ...['netty-transport-native-epoll', 'netty-transport-native-unix-common']
]

/** Default timing and sync, on loopback without TLS. `share` is Debian's /usr/share/java. */
export async function startZookeeper(bench: Bench, java: string, share: string): Promise<Ensemble> {
  const ports = await freePorts(9)
  const servers = [0, 1, 2].map((i) => `server.${i + 1}=127.0.0.1:${ports[i]}:${ports[3 + i]}`)
  const members = [0, 1, 2].map((i) => {
    const directory = join(bench.folder('zookeeper'), String(i + 1))
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'myid'), `${i + 1}\n`)
    const settings = ['tickTime=2000', 'initLimit=10', 'syncLimit=5', 'admin.enableServer=false', '4lw.commands.whitelist=srvr']
    const client = [`dataDir=${directory}`, `clientPort=${ports[6 + i]}`, 'clientPortAddress=127.0.0.1', 'maxClientCnxns=0']
    const file = join(directory, 'zoo.cfg')
    writeFileSync(file, `${[...settings, ...client, ...servers].join('\n')}\n`)
    const classPath = jars.map((jar) => join(share, `${jar}.jar`)).join(':')
    const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'
    const words = [java, '-Xmx1g', quiet, '-cp', classPath, 'org.apache.zookeeper.server.quorum.QuorumPeerMain', file]
    return new Server(bench, `zookeeper ${i + 1}`, ports[6 + i] ?? 0, () => daemon(bench, `zookeeper-${i + 1}`, words))
  })
  for (const member of members) member.start()
  const leader = async () => {
    for (const member of members) if (await leads(member.port)) return member
    return undefined
  }
  return { system: 'zookeeper', members, leader }
}

async function leads(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  socket.setTimeout(500, () => socket.destroy())
  socket.write('srvr')
  // One that is down, or does not know yet, is asked again.
  return (await text(socket).catch(() => '')).includes('Mode: leader')
}
