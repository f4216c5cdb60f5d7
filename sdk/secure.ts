import type { RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { meet } from '../identity/enrolment.ts'
import { parseJoinToken } from '../identity/join-token.ts'
import { identityCheck, masterOf, protocols } from '../identity/secure-channel.ts'
import type { SecureEndpoint } from './endpoint.ts'

/**
 * How to ask a master of another host. Its certificates are looked at first: the token, which is the secret here, goes only to one whose
 * authority it names. Rejects with `Fault('denied')` where that is somebody else.
 */
export async function secureRequest({ host, port, token }: SecureEndpoint, signal: AbortSignal) {
  const shown = await meet({ host, port }, parseJoinToken(token), signal)
  const options = {
    ...{ host, port },
    ca: shown.authority,
    minVersion: 'TLSv1.3',
    ALPNProtocols: [protocols.http],
    checkServerIdentity: identityCheck(masterOf(shown.clusterId))
  }
  return { request: (more: RequestOptions) => httpsRequest(more), options: options as RequestOptions }
}
