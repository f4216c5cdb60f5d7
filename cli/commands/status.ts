import { readFileSync } from 'node:fs'
import { errnoOf, isFault } from '../../base/fault.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { Node } from '../../sdk/operator-messages.ts'
import type { CommonOptions, Context } from '../context.ts'
import { showResources } from '../output/resources.ts'
import { renderFacts } from '../output/table.ts'
import { isAlive } from '../process-identity.ts'
import { type StateLayout, stateLayout } from '../state-layout.ts'
import { livingDaemons, readSupervisorFile, type SupervisorFile } from '../supervisor-file.ts'

/** Exit code 0 where a cluster runs here, 3 where none does, as `systemctl status` has it. */
export async function status(context: Context, options: CommonOptions): Promise<number> {
  const layout = stateLayout(context.settings(options).stateDir)
  const file = readSupervisorFile(layout)
  const { stdout } = context.streams
  if (file === undefined || !isAlive(file.process)) {
    const orphans = file === undefined ? [] : livingDaemons(file).map((d) => `${d.name} (${d.process.pid})`)
    const more = orphans.length === 0 ? '' : `; left over from a killed supervisor: ${orphans.join(', ')}`
    if (options.json === true) stdout.write(`${JSON.stringify({ stateDir: layout.stateDir, running: false, orphans })}\n`)
    else stdout.write(`hearth is not running in ${layout.stateDir}${more}\n`)
    return 3
  }
  const nodes = await nodesOf(layout, context.signal)
  if (options.json === true) stdout.write(`${JSON.stringify({ stateDir: layout.stateDir, running: true, ...file, nodes })}\n`)
  else stdout.write(`hearth is up\n${describeCluster(layout, file, nodes)}`)
  return 0
}

export function describeCluster(layout: StateLayout, file: SupervisorFile, nodes: readonly Node[]): string {
  const daemon = (name: string): string => {
    const found = file.daemons.find((d) => d.name === name)
    if (found?.process == null) return `not running${found?.lastExit ? ` (${found.lastExit})` : ''}`
    return `process ${found.process.pid}${found.restarts > 0 ? `, restarted ${found.restarts} times` : ''}`
  }
  const http = httpAddress(layout)
  return renderFacts([
    ['  master', daemon('master')],
    ['  agent', daemon('agent')],
    ['  node', nodes.map((n) => `${n.hostname}: ${showResources(n.resources)}`).join('; ') || 'none registered'],
    ['  state', layout.stateDir],
    ['  API', http === undefined ? layout.masterSocket : `${layout.masterSocket}, ${http} (token: ${layout.token})`],
    ['  logs', layout.logs]
  ])
}

function httpAddress(layout: StateLayout): string | undefined {
  try {
    return readFileSync(layout.httpAddress, 'utf8').trim() || undefined
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}

async function nodesOf(layout: StateLayout, signal: AbortSignal): Promise<readonly Node[]> {
  try {
    return await new OperatorClient({ kind: 'socket', path: layout.masterSocket }).nodes.list(signal)
  } catch (e) {
    if (isFault(e)) return [] // the master is just starting: its line tells
    throw e
  }
}
