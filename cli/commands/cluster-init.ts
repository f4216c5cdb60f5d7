import { existsSync } from 'node:fs'
import { systemClock } from '../../base/clock.ts'
import { Fault, isFault } from '../../base/fault.ts'
import type { IdentityOverview } from '../../sdk/identity-messages.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { CommonOptions, Context } from '../context.ts'
import { endOrphans, failOnCrashes, lastLogLines, makeFolders, prepareHost, startSupervisor } from '../daemons.ts'
import { hasJoined } from '../joined-agent.ts'
import { checkListenAddress, openListenAddress } from '../listen-address.ts'
import { renderFacts } from '../output/table.ts'
import { isAlive } from '../process-identity.ts'
import type { StateLayout } from '../state-layout.ts'
import { stopCluster } from '../stop-cluster.ts'
import { readSupervisorFile } from '../supervisor-file.ts'
import { takeUpLock } from '../up-lock.ts'

interface InitOptions extends CommonOptions {
  readonly http?: string
  readonly listen?: string
}

const patienceMs = 60_000
const pollMs = 50

/** A master alone, and with its first start the cluster: id, certificate authority, the token of its first administrator. */
export async function initCluster(context: Context, options: InitOptions): Promise<number> {
  const { http = '' } = options
  if (http !== '') checkListenAddress('--http', http)
  const listen = options.listen === undefined ? '' : openListenAddress('--listen', options.listen)
  const layout = prepareHost(context, options, 'hearth cluster init')
  if (hasJoined(layout)) {
    throw new Fault('conflict', `${layout.stateDir} belongs to the cluster of another host’s master; use another --state-dir`)
  }
  makeFolders(layout)
  const release = takeUpLock(layout)
  try {
    const running = readSupervisorFile(layout)
    const isUp = running !== undefined && isAlive(running.process)
    if (!isUp && running !== undefined) await endOrphans(running, context.signal)
    if (!isUp) startSupervisor(context, layout, { http, listen, daemons: ['master'] })
    const wantsDoor = !['', 'off'].includes(listen || (context.env['HEARTH_LISTEN'] ?? ''))
    const overview = await awaitAuthority(layout, wantsDoor && !isUp, context.signal).catch(async (e: unknown) => {
      context.streams.stderr.write(lastLogLines(layout, e))
      if (!isUp) await stopCluster(layout, { removeRun: true, workloads: 'if-agent-answers' }, context.signal)
      throw e
    })
    context.streams.stdout.write(`${isUp ? 'a master is up already' : 'the master is up'}\n${describe(layout, overview)}`)
    return 0
  } finally {
    release()
  }
}

function describe(layout: StateLayout, { clusterId, authorities }: IdentityOverview): string {
  return renderFacts([
    ['  cluster', clusterId],
    ['  authority', `sha256 ${authorities.find((a) => a.signs)?.digest ?? ''}`],
    ['  administrator', `the token in ${layout.token}`],
    ['  let hosts in', 'hearth cluster token create, then on each: hearth agent join HOST --token TOKEN']
  ])
}

async function awaitAuthority(layout: StateLayout, wantsDoor: boolean, signal: AbortSignal): Promise<IdentityOverview> {
  const client = new OperatorClient({ kind: 'socket', path: layout.masterSocket })
  const until = systemClock.monotonicMs() + patienceMs
  let seen = 'the master does not answer'
  while (systemClock.monotonicMs() < until) {
    try {
      const overview = await client.identity.overview(signal)
      const isOpen = !wantsDoor || existsSync(layout.listenAddress)
      if (overview.authorities.length > 0 && isOpen) return overview
      seen = isOpen ? 'the cluster has no certificate authority' : 'the door for other hosts is not open'
    } catch (e) {
      if (!isFault(e)) throw e
      seen = e.message
    }
    failOnCrashes(layout)
    await systemClock.sleep(pollMs, signal)
  }
  throw new Fault('timeout', `${seen} after ${patienceMs / 1000} s; see the logs in ${layout.logs}`)
}
