import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { connect } from 'node:tls'
import { within } from '../base/clock.ts'
import { Fault, isFaultCode } from '../base/fault.ts'
import { type Credentials, credentialsOf } from './credentials.ts'
import { digestOf, type JoinToken } from './join-token.ts'
import { type CertifiedRole, nameIn } from './name.ts'
import { pem } from './pem.ts'
import { type MasterPlace, placeText } from './places.ts'
import { channelFault, contextOf, identityCheck, masterOf, protocols } from './secure-channel.ts'

export interface Newcomer {
  readonly role: CertifiedRole
  readonly nodeId: string
  readonly hostname: string
}

/** Certificates given out, as the master answers. */
interface Issued {
  /** PEM. */
  readonly certificate: string
  /** PEM, one after the other. */
  readonly authorities: string
  /** The secret that the authority's key is sealed with; to masters alone. */
  readonly clusterKey?: string
}

export interface Enrolled {
  readonly credentials: Credentials
  readonly clusterKey: string | undefined
}

const patienceMs = 15_000
const maxAnswerBytes = 256 * 1024

/** What a master has shown of its cluster: nothing is believed yet, and nothing was said. */
export interface Shown {
  /** Of the certificate that the master showed. */
  readonly clusterId: string
  /** The authority's certificate, PEM: the one that the token means. */
  readonly authority: string
}

/**
 * Gets a certificate for a node that has none. The secret of the token leaves this host only in a channel whose other end has a
 * certificate of the authority that the token names by its digest.
 */
export async function join(
  at: MasterPlace,
  { token, shown, newcomer }: { readonly token: JoinToken; readonly shown: Shown; readonly newcomer: Newcomer },
  signal: AbortSignal
): Promise<Enrolled> {
  const { newCertificateRequest } = await import('./certificate-request.ts')
  const { key, request } = await newCertificateRequest()
  const { tokenId, secret } = token
  const body = { tokenId, secret, ...newcomer, request }
  return enrolled(at, key, await post(at, { ca: shown.authority }, '/v1/join', body, shown.clusterId, signal))
}

/** Another certificate for a node that has a good one. */
export async function renew(at: MasterPlace, before: Credentials, signal: AbortSignal): Promise<Enrolled> {
  const { newCertificateRequest } = await import('./certificate-request.ts')
  const { key, request } = await newCertificateRequest()
  const answer = await post(at, contextOf(before), '/v1/certificates', { request }, before.name.clusterId, signal)
  return enrolled(at, key, answer)
}

function enrolled(at: MasterPlace, key: string, answer: unknown): Enrolled {
  const { certificate, authorities, clusterKey } = answer as Issued
  try {
    return { credentials: credentialsOf({ key, certificate, authorities }), clusterKey }
  } catch (cause) {
    throw new Fault('corrupt', `${placeText(at)} answered with a certificate that is none: is it a Hearth master?`, {}, cause)
  }
}

/** Looks at the certificates that a master shows. Throws `Fault('denied')` where none of them is the authority that the token means. */
export async function meet(at: MasterPlace, token: JoinToken, signal: AbortSignal): Promise<Shown> {
  const patience = within(patienceMs, signal)
  const socket = connect({ ...at, rejectUnauthorized: false, minVersion: 'TLSv1.3', ALPNProtocols: [protocols.http] })
  try {
    const shown = await new Promise<X509Certificate | undefined>((resolve, reject) => {
      patience.addEventListener('abort', () => reject(timedOut(at, patience, signal)), { once: true })
      socket.on('error', (e) => reject(channelFault(e, placeText(at))))
      socket.once('secureConnect', () => resolve(socket.getPeerX509Certificate()))
    })
    for (let found = shown, depth = 0; found !== undefined && depth < 4; found = found.issuerCertificate, depth += 1) {
      if (shown === undefined || digestOf(found.raw) !== token.authority) continue
      return { clusterId: nameIn(shown).clusterId, authority: pem('CERTIFICATE', found.raw) }
    }
  } finally {
    socket.destroy()
  }
  const next = 'nothing was sent to it. Is this the right host, and the newest token?'
  throw new Fault('denied', `${placeText(at)} does not belong to the cluster that the token is for; ${next}`)
}

const timedOut = (at: MasterPlace, patience: AbortSignal, signal: AbortSignal): unknown =>
  signal.aborted ? signal.reason : new Fault('timeout', `${placeText(at)} does not answer`, {}, patience.reason)

async function post(
  at: MasterPlace,
  context: object,
  path: string,
  body: unknown,
  clusterId: string | undefined,
  signal: AbortSignal
): Promise<unknown> {
  const patience = within(patienceMs, signal)
  const bytes = Buffer.from(JSON.stringify(body))
  const channel = {
    minVersion: 'TLSv1.3',
    ALPNProtocols: [protocols.http],
    checkServerIdentity: identityCheck(masterOf(clusterId))
  }
  const headers = { 'content-type': 'application/json', 'content-length': bytes.length }
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const options = { ...at, ...context, ...channel, agent: false, method: 'POST', path, headers, signal: patience }
    const outgoing = httpsRequest(options as RequestOptions)
    outgoing.on('response', resolve)
    outgoing.on('error', (e) => reject(patience.aborted ? timedOut(at, patience, signal) : channelFault(e, placeText(at))))
    outgoing.end(bytes)
  })
  const text = await readAll(response)
  return answerOf(at, response.statusCode ?? 500, text)
}

function answerOf(at: MasterPlace, status: number, text: string): unknown {
  let answer: { readonly error?: { readonly code?: unknown; readonly message?: unknown } }
  try {
    answer = JSON.parse(text) as typeof answer
  } catch (cause) {
    throw new Fault(
      'corrupt',
      `${placeText(at)} answered something that is not JSON (${status}): is it a Hearth master?`,
      {},
      cause
    )
  }
  if (status < 400) return answer
  const { code, message } = answer.error ?? {}
  throw new Fault(
    isFaultCode(String(code)) ? (String(code) as Fault['code']) : 'denied',
    String(message ?? `${placeText(at)} answered ${status}`)
  )
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxAnswerBytes) throw new Fault('exhausted', `the answer is over the limit of ${maxAnswerBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
