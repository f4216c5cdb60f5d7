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
import { livingAgent } from './node-stop.ts'

/** Exit code 0 where a cluster runs here, 3 where none does, as `systemctl status` has it. */
export async function status(context: Context, options: CommonOptions): Promise<number> {
  const layout = stateLayout(context.settings(options).stateDir)
  const file = readSupervisorFile(layout)
  const isSupervised = file !== undefined && isAlive(file.process)
  const { facts, text, code } = isSupervised
    ? await ofSupervisor(layout, file, context.signal)
    : await withoutSupervisor(layout, file, context.signal)
  context.streams.stdout.write(options.json === true ? `${JSON.stringify({ stateDir: layout.stateDir, ...facts })}\n` : text)
  return code
}

interface Told {
  readonly facts: Readonly<Record<string, unknown>>
  readonly text: string
  readonly code: number
}

async function ofSupervisor(layout: StateLayout, file: SupervisorFile, signal: AbortSignal): Promise<Told> {
  const nodes = (await nodesOf(layout, signal)) ?? []
  return { facts: { running: true, ...file, nodes }, text: `hearth is up\n${describeCluster(layout, file, nodes)}`, code: 0 }
}

/** systemd keeps the daemons, or somebody's own hands, or there are none. */
async function withoutSupervisor(layout: StateLayout, file: SupervisorFile | undefined, signal: AbortSignal): Promise<Told> {
  const agent = livingAgent(layout)
  const nodes = await nodesOf(layout, signal)
  if (agent !== undefined || nodes !== undefined) {
    const daemons = {
      master: nodes === undefined ? 'does not answer' : 'answers',
      agent: agent === undefined ? 'not running' : `process ${agent.pid}`,
      logs: 'journalctl -u hearth-master -u hearth-agent'
    }
    const facts = { running: true, master: nodes !== undefined, agent: agent ?? null, nodes: nodes ?? [] }
    return { facts, text: `hearth is up\n${describe(layout, daemons, nodes ?? [])}`, code: 0 }
  }
  const orphans = file === undefined ? [] : livingDaemons(file).map((d) => `${d.name} (${d.process.pid})`)
  const more = orphans.length === 0 ? '' : `; left over from a killed supervisor: ${orphans.join(', ')}`
  return { facts: { running: false, orphans }, text: `hearth is not running in ${layout.stateDir}${more}\n`, code: 3 }
}

export function describeCluster(layout: StateLayout, file: SupervisorFile, nodes: readonly Node[]): string {
  const daemon = (name: string): string => {
    const found = file.daemons.find((d) => d.name === name)
    if (found?.process == null) return `not running${found?.lastExit ? ` (${found.lastExit})` : ''}`
    return `process ${found.process.pid}${found.restarts > 0 ? `, restarted ${found.restarts} times` : ''}`
  }
  const joined = joinedMasters(layout)
  const master = joined === undefined ? daemon('master') : `on another host: ${joined}`
  return describe(layout, { master, agent: daemon('agent'), logs: layout.logs }, nodes)
}

function describe(
  layout: StateLayout,
  daemons: { readonly master: string; readonly agent: string; readonly logs: string },
  nodes: readonly Node[]
): string {
  const http = httpAddress(layout)
  return renderFacts([
    ['  master', daemons.master],
    ['  agent', daemons.agent],
    ['  node', nodes.map((n) => `${n.hostname}: ${showResources(n.resources)}`).join('; ') || 'none registered'],
    ['  state', layout.stateDir],
    ['  API', http === undefined ? layout.masterSocket : `${layout.masterSocket}, ${http} (token: ${layout.token})`],
    ['  other hosts', lineOf(layout.listenAddress)],
    ['  logs', daemons.logs]
  ])
}

const httpAddress = (layout: StateLayout): string | undefined => lineOf(layout.httpAddress)
const joinedMasters = (layout: StateLayout): string | undefined => lineOf(layout.joinedMasters)?.replaceAll('\n', ', ')

function lineOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'EACCES') return undefined
    throw e
  }
}

/** Undefined where no master answers: it is just starting, or there is none. */
async function nodesOf(layout: StateLayout, signal: AbortSignal): Promise<readonly Node[] | undefined> {
  try {
    return await new OperatorClient({ kind: 'socket', path: layout.masterSocket }).nodes.list(signal)
  } catch (e) {
    if (isFault(e)) return undefined
    throw e
  }
}
