import { type Check, rowsOf } from '../verdict.ts'
import { showSpan } from './words.ts'

/** The interfaces of default routes: destination 0/0 in /proc/net/route, ::/0 in /proc/net/ipv6_route. */
export function parseDefaultRoutes(route: string, route6: string): readonly string[] {
  const up = 0x1
  const v4 = route.split('\n').flatMap((line) => {
    const [name = '', destination, , flags = '0', , , , mask] = line.trim().split(/\s+/)
    const isDefault = destination === '00000000' && mask === '00000000' && (Number.parseInt(flags, 16) & up) !== 0
    return isDefault ? [name] : []
  })
  const v6 = route6.split('\n').flatMap((line) => {
    const [destination = '', prefix, , , , , , , flags = '0', name = ''] = line.trim().split(/\s+/)
    const isDefault = /^0{32}$/.test(destination) && prefix === '00' && (Number.parseInt(flags, 16) & up) !== 0
    return isDefault && name !== 'lo' ? [name] : []
  })
  return [...new Set([...v4, ...v6])]
}

export function judgeRoutes(interfaces: readonly string[]): Check {
  const row = rowsOf('network.route')
  if (interfaces.length > 0) return row.ok(`default route by ${interfaces.join(', ')}`)
  return row.warning('there is no default route: tasks reach this network only', 'add one: ip route add default via …')
}

/** What resolv.conf(5) names, at most the three that the C library asks. */
export const parseNameservers = (text: string): readonly string[] =>
  [...text.matchAll(/^[ \t]*nameserver[ \t]+([0-9a-fA-F.:%\w]+)/gm)].map(([, address = '']) => address).slice(0, 3)

export interface NameserverFacts {
  readonly address: string
  /** Milliseconds until its answer, or why there was none; it lives where its host at least said no. */
  readonly outcome: { readonly answeredMs: number } | { readonly failure: string; readonly lives: boolean }
}

const slowMs = 1_000

export function judgeNameservers(servers: readonly NameserverFacts[] | 'not-asked'): readonly Check[] {
  if (servers === 'not-asked') return [rowsOf('network.dns').ok('not asked: health-dns is no')]
  if (servers.length === 0) {
    return [rowsOf('network.dns').warning('resolv.conf names no server', 'write one into /etc/resolv.conf')]
  }
  const silent = servers.every(({ outcome }) => 'failure' in outcome && !outcome.lives)
  return servers.map(({ address, outcome }) => {
    const row = rowsOf('network.dns', address)
    const remedy = 'see that it runs and that no firewall is in between: dig +tcp @ADDRESS . NS; else change /etc/resolv.conf'
    if ('failure' in outcome) return silent ? row.failure(outcome.failure, remedy) : row.warning(outcome.failure, remedy)
    const reason = `answers in ${showSpan(outcome.answeredMs)}`
    return outcome.answeredMs > slowMs ? row.warning(reason, remedy) : row.ok(reason)
  })
}
