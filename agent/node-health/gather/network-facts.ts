import { connect } from 'node:net'
import { join } from 'node:path'
import { errnoOf } from '../../../base/fault.ts'
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
const patienceMs = 3_000

/**
 * Asks each server of resolv.conf for the name servers of the root, over TCP, which RFC 7766 asks of every server: any answer, a
 * refusal to answer too, shows that it lives.
 */
export async function askNameservers(roots: NodeRoots, signal: AbortSignal, port = dnsPort): Promise<readonly NameserverFacts[]> {
  const servers = parseNameservers((await readIfThere(join(roots.etc, 'resolv.conf'))) ?? '')
  return await Promise.all(servers.map(async (address) => ({ address, outcome: await ask(address, port, signal) })))
}

/** RFC 1035, 4.1: id, flags (recursion desired), one question, root NS IN; over TCP behind its length in two bytes (4.2.2). */
const question = Buffer.from([0, 17, 0x48, 0x65, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])
const idAndAnswerBit = 5

function ask(address: string, port: number, signal: AbortSignal): Promise<NameserverFacts['outcome']> {
  const startedMs = performance.now()
  return new Promise((resolve) => {
    const socket = connect({ host: address, port })
    let got = Buffer.alloc(0)
    const end = (outcome: NameserverFacts['outcome']): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      socket.destroy()
      resolve(outcome)
    }
    const stop = (): void => end({ failure: 'the check was stopped', lives: false })
    const timer = setTimeout(() => end({ failure: `no answer within ${patienceMs} ms`, lives: false }), patienceMs)
    signal.addEventListener('abort', stop, { once: true })
    socket.once('connect', () => socket.write(question))
    socket.on('error', (e) => end({ failure: `cannot be asked: ${e.message}`, lives: errnoOf(e) === 'ECONNREFUSED' }))
    socket.on('end', () => end({ failure: 'closed the connection without an answer', lives: true }))
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]).subarray(0, idAndAnswerBit)
      if (got.length < idAndAnswerBit) return
      const isAnswer = got.subarray(2, 4).equals(question.subarray(2, 4)) && ((got[4] ?? 0) & 0x80) !== 0
      end(isAnswer ? { answeredMs: performance.now() - startedMs } : { failure: 'answered what is no DNS', lives: true })
    })
  })
}
