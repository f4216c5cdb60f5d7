import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { type NameserverFacts, parseDefaultRoutes, parseNameservers } from '../checks/network.ts'
import { type NodeRoots, readIfThere } from './roots.ts'

export async function readDefaultRoutes(roots: NodeRoots): Promise<readonly string[]> {
  const [route, route6] = await Promise.all([
    readIfThere(join(roots.proc, 'net/route')),
    readIfThere(join(roots.proc, 'net/ipv6_route'))
  ])
  return parseDefaultRoutes(route ?? '', route6 ?? '')
}

const dnsPort = 53
const triesMs = [1_000, 2_000]

/** Asks each server of resolv.conf for the name servers of the root: any answer, a refusal too, shows that it lives. */
export async function askNameservers(roots: NodeRoots, signal: AbortSignal, port = dnsPort): Promise<readonly NameserverFacts[]> {
  const servers = parseNameservers((await readIfThere(join(roots.etc, 'resolv.conf'))) ?? '')
  return await Promise.all(servers.map(async (address) => ({ address, outcome: await ask(address, port, signal) })))
}

async function ask(address: string, port: number, signal: AbortSignal): Promise<NameserverFacts['outcome']> {
  let failure = ''
  const startedMs = performance.now()
  for (const withinMs of triesMs) {
    signal.throwIfAborted()
    const problem = await askOnce(address, port, withinMs, signal)
    if (problem === undefined) return { answeredMs: performance.now() - startedMs }
    failure = problem
  }
  return { failure }
}

/** Undefined for an answer, else what went wrong. RFC 1035, 4.1: id, flags (recursion desired), one question, root NS IN. */
function askOnce(address: string, port: number, withinMs: number, signal: AbortSignal): Promise<string | undefined> {
  const id = Math.floor(performance.now() * 1_000) & 0xffff
  const question = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address.split('%', 1)[0] ?? '') ? 'udp6' : 'udp4')
    const end = (problem: string | undefined): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      socket.removeAllListeners().on('error', () => undefined)
      socket.close()
      resolve(problem)
    }
    const stop = (): void => end('the check was stopped')
    const timer = setTimeout(() => end(`no answer within ${withinMs} ms`), withinMs)
    signal.addEventListener('abort', stop, { once: true })
    socket.on('error', (e) => end(`cannot be asked: ${e.message}`))
    socket.on('message', (bytes) => {
      const isAnswer = bytes.length >= 12 && bytes.readUInt16BE(0) === id && ((bytes[2] ?? 0) & 0x80) !== 0
      if (isAnswer) end(undefined)
    })
    // Connected, so that a closed port is told at once and nobody else can answer.
    socket.connect(port, address, () => socket.send(question))
  })
}
