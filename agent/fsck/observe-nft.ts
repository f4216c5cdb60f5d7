import type { Exec } from '../../base/exec.ts'
import { Fault, isFault } from '../../base/fault.ts'
import { isContainerId } from '../../proto/ids.ts'
import type { Seen } from './compare.ts'

/** Tables of ours and the elements of their sets and maps (libnftables-json(5); docs/decisions/0018 says how they are marked). */

/** What is known of a table, a set or a map, as nft lists it. */
interface Listed {
  readonly family: string
  readonly name: string
  readonly table?: string
  readonly elem?: readonly unknown[]
}

interface Found {
  readonly seen: readonly Seen[]
  readonly unseen: readonly string[]
}

const timeoutMs = 10_000
const mostOutputBytes = 64 * 1024 * 1024

export async function observeNft({ agentId }: { readonly agentId: string }, exec: Exec): Promise<Found> {
  try {
    const tables = rowsOf(await runNft(exec, ['-j', 'list', 'tables']), 'table').filter(({ name }) => /^hearth(_|$)/.test(name))
    const seen = tables.flatMap((table) => seenTable(table, agentId))
    const ours = tables.filter(({ name }) => agentOf(name) === agentId)
    return { seen: [...seen, ...(await setsOf(ours, exec)).flatMap(elementsOf)], unseen: [] }
  } catch (e) {
    if (!isFault(e) && !(e instanceof Error && 'code' in e)) throw e
    return { seen: [], unseen: [`nft tables: ${e.message}`] }
  }
}

/** `hearth_AGENT` or `hearth_AGENT_NAME`. */
const agentOf = (table: string): string | undefined => /^hearth_([0-9a-f]{32})(_|$)/.exec(table)?.[1]

/** Those of another agent are its own affair. */
function seenTable({ family, name }: Listed, agentId: string): readonly Seen[] {
  const agent = agentOf(name)
  const isOurs = agent !== undefined || 'its name does not say which agent made it, so that nothing proves whose it is'
  return agent === undefined || agent === agentId ? [{ kind: 'nft_table', id: `${family} ${name}`, containerId: '', isOurs }] : []
}

/** More tables than an agent has any use for: then one look at the sets of the whole host is quicker than one at each table. */
const fewTables = 4

async function setsOf(tables: readonly Listed[], exec: Exec): Promise<readonly Listed[]> {
  const each = tables.map(({ family, name }) => ['table', family, name])
  const sets: Listed[] = []
  for (const what of each.length > fewTables ? [['sets'], ['maps']] : each) {
    const listing = await runNft(exec, ['-j', 'list', ...what])
    sets.push(...rowsOf(listing, 'set'), ...rowsOf(listing, 'map'))
  }
  const ours = new Set(tables.map(({ family, name }) => `${family} ${name}`))
  return sets.filter(({ family, table }) => ours.has(`${family} ${table}`))
}

/** Those whose comment is a container's id; others belong to the table. */
function elementsOf(set: Listed): readonly Seen[] {
  return (set.elem ?? []).flatMap((item): readonly Seen[] => {
    const key: unknown = Array.isArray(item) ? item[0] : item // of a map: [key, value]
    const { elem } = (typeof key === 'object' && key !== null ? key : {}) as { elem?: { val?: unknown; comment?: unknown } }
    const containerId = String(elem?.comment ?? '')
    if (!isContainerId(containerId)) return []
    const id = [set.family, set.table, set.name, JSON.stringify(elem?.val)].join(' ')
    return [{ kind: 'nft_element', id, containerId, isOurs: true }]
  })
}

function rowsOf(text: string, kind: 'table' | 'set' | 'map'): readonly Listed[] {
  const { nftables } = JSON.parse(text) as { readonly nftables: readonly Readonly<Record<string, Listed>>[] }
  return nftables.flatMap((row) => row[kind] ?? [])
}

/** Throws a `Fault` where nft is not there or refuses. */
export async function runNft(exec: Exec, words: readonly string[]): Promise<string> {
  const options = { timeoutMs, maxOutputBytes: mostOutputBytes }
  const { code, stdout, stderr } = await exec.run('nft', words, options, new AbortController().signal)
  if (code !== 0) throw new Fault('unavailable', `nft refused: ${stderr.trim().split('\n')[0] ?? ''}`)
  return stdout
}

/** The command that takes away what `observeNft` has named by this id. */
export function nftDeletion(kind: 'nft_table' | 'nft_element', id: string): string {
  const [family = '', table = '', name = '', ...rest] = id.split(' ')
  const target =
    kind === 'nft_table'
      ? { table: { family, name: table } }
      : { element: { family, table, name, elem: [JSON.parse(rest.join(' '))] } }
  return JSON.stringify({ nftables: [{ delete: target }] })
}
