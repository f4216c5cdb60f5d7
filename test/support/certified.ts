import { connect as connectTcp } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Credentials } from '../../identity/credentials.ts'
import { join, meet } from '../../identity/enrolment.ts'
import { parseJoinToken } from '../../identity/join-token.ts'
import { masterOf, protocols, secureClient } from '../../identity/secure-channel.ts'
import { newNodeId } from '../../proto/ids.ts'
import type { TestMaster } from './test-master.ts'

const day = 86_400_000

export const never = (): AbortSignal => new AbortController().signal

export async function tokenOf(
  master: TestMaster,
  more: { readonly role?: string; readonly uses?: number; readonly ttlMs?: number } = {}
) {
  const { status, body } = await master.call('POST', '/v1/tokens', { role: 'agent', uses: 1, ttlMs: day, ...more })
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body as { readonly token: string; readonly tokenId: string }
}

export const placeOf = (master: TestMaster) => ({ host: '127.0.0.1', port: master.master.identity.port ?? 0 })

/** Joins as `hearth agent join` does, without an agent. */
export async function certified(master: TestMaster, text?: string, nodeId: string = newNodeId()): Promise<Credentials> {
  const token = parseJoinToken(text ?? (await tokenOf(master)).token)
  const at = placeOf(master)
  const shown = await meet(at, token, never())
  const newcomer = { role: 'agent' as const, nodeId, hostname: 'host-of-the-test' }
  return (await join(at, { token, shown, newcomer }, never())).credentials
}

/** A connection as an agent makes it; resolves when the handshake is done. */
export function channel(
  master: TestMaster,
  credentials: Credentials,
  clusterId = credentials.name.clusterId
): Promise<TLSSocket> {
  const socket = secureClient(connectTcp(placeOf(master)), credentials, protocols.agentLink, masterOf(clusterId))
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('secureConnect', () => resolve(socket))
  })
}
