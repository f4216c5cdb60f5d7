import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomToken } from '../../base/random.ts'
import { digestOf, formatJoinToken } from '../../identity/join-token.ts'
import type { CertifiedRole } from '../../identity/name.ts'
import { pem } from '../../identity/pem.ts'
import { type ClusterId, type NodeId, nodeId } from '../../proto/ids.ts'
import type { Proposer } from '../proposer.ts'
import type { ClusterState } from '../state/cluster.ts'
import { signingAuthority, unknownToken } from '../state/identities.ts'
import type { Authority, IssuedCertificate } from './authority.ts'
import { clusterKeyText, ensureClusterKey } from './cluster-key.ts'
import type { CertifiedNode } from './guard.ts'
import { overviewOf } from './overview.ts'

interface DeskParts {
  readonly state: ClusterState
  readonly proposer: Pick<Proposer, 'propose'>
  readonly clock: Clock
  readonly log: Log
}

interface DeskConfig {
  readonly clusterId: ClusterId
  readonly nodeId: string
  /** Undefined on a master that has lost it. */
  readonly clusterKey: Uint8Array | undefined
  readonly stateDir: string
  /** Names and addresses of this master, for its own certificate. */
  readonly hosts: readonly string[]
}

export interface Applicant {
  readonly role: CertifiedRole
  readonly nodeId: string
  readonly hostname: string
  /** PEM, PKCS #10. */
  readonly request: string
}

/** What a newcomer gets. */
export interface Papers {
  readonly clusterId: string
  readonly certificate: string
  readonly authorities: string
  readonly clusterKey?: string
}

export interface TokenOrder {
  readonly role: CertifiedRole
  readonly uses: number
  readonly ttlMs: number
}

/** Gives certificates out. Only a leader can: what it gives is committed before it leaves. */
export class CertificateDesk {
  readonly #parts: DeskParts
  readonly #config: DeskConfig
  #clusterKey: Uint8Array | undefined
  #opened: (Authority & { readonly digest: string }) | undefined

  constructor(parts: DeskParts, config: DeskConfig) {
    this.#parts = parts
    this.#config = config
    this.#clusterKey = config.clusterKey
  }

  /** Makes the first authority of a cluster that has none. */
  async found(signal: AbortSignal): Promise<void> {
    if (signingAuthority(this.#parts.state) === undefined) await this.#establish('', signal)
  }

  /**
   * A new authority signs from now on, and both are trusted until the old one is retired. A master that has lost the cluster key makes
   * another one: the key of the old authority is given up with it.
   */
  async rotate(signal: AbortSignal): Promise<{ readonly digest: string }> {
    this.#clusterKey ??= await ensureClusterKey(this.#config.stateDir, true)
    return await this.#establish(this.#signing().digest, signal)
  }

  /** Rejects with `Fault('conflict')` while nodes have certificates of it. */
  async retire(digest: string, signal: AbortSignal): Promise<void> {
    await this.#parts.proposer.propose({ retireAuthority: { digest } }, signal)
    this.#parts.log.info({ digest }, 'authority.retired')
  }

  /** Whether masters may show a certificate of the newest authority: every agent believes that one, and masters do from their log. */
  get isFollowed(): boolean {
    const { state } = this.#parts
    const digest = signingAuthority(state)?.digest
    return [...state.nodeIdentities.values()].every((row) => row.role === 'master' || row.authority === digest)
  }

  /** Whether this master's newest certificate is of the newest authority. */
  get isNewest(): boolean {
    const { state } = this.#parts
    return state.nodeIdentities.get(this.#config.nodeId)?.authority === signingAuthority(state)?.digest
  }

  /** All that are trusted, PEM, the one that signs first. */
  get authorities(): string {
    const rows = [...this.#parts.state.authorities.values()].reverse()
    return rows.map((row) => pem('CERTIFICATE', row.certificate)).join('')
  }

  /** The token as it is given to the operator: nobody can read it again. */
  async createToken(
    { role, uses, ttlMs }: TokenOrder,
    signal: AbortSignal
  ): Promise<{ readonly tokenId: string; readonly token: string }> {
    const authority = this.#signing().digest
    const tokenId = randomBytes(8).toString('hex')
    const secret = randomToken()
    const command = { createJoinToken: { tokenId, secretDigest: digestOf(secret), role, uses, ttlMs } }
    await this.#parts.proposer.propose(command, signal)
    return { tokenId, token: formatJoinToken({ tokenId, secret, authority }) }
  }

  async revokeToken(tokenId: string, signal: AbortSignal): Promise<void> {
    await this.#parts.proposer.propose({ revokeJoinToken: { tokenId } }, signal)
  }

  /** Everything about who is let in; no secret and no key. */
  overview() {
    return overviewOf(this.#parts.state, this.#config.clusterId)
  }

  /** Throws `Fault('denied')` for a token that is not good, and `conflict` for a node that has its certificate already. */
  async admit(
    token: { readonly tokenId: string; readonly secret: string },
    applicant: Applicant,
    signal: AbortSignal
  ): Promise<Papers> {
    this.#checkToken(token)
    const issued = await this.#issue(applicant.role, nodeId(applicant.nodeId), applicant.request, [])
    const { nodeId: id, role, hostname } = applicant
    const { serial, untilMs: notAfterMs, authority } = issued
    const node = { nodeId: id, role, hostname, serials: [serial], notAfterMs, authority }
    const { tokenId, secret } = token
    await this.#parts.proposer.propose({ admitNode: { tokenId, secretDigest: digestOf(secret), node } }, signal)
    this.#parts.log.info({ nodeId: id, role, hostname, tokenId }, 'node.admitted')
    return { ...this.#papers(issued), ...(role === 'master' ? { clusterKey: clusterKeyText(this.#key()) } : {}) }
  }

  async renew(node: CertifiedNode, request: string, signal: AbortSignal): Promise<Papers> {
    const issued = await this.#issue(node.role, node.nodeId, request, [])
    const { serial, untilMs: notAfterMs, authority } = issued
    await this.#parts.proposer.propose(
      { renewCertificate: { nodeId: node.nodeId, presented: node.serial, serial, notAfterMs, authority } },
      signal
    )
    this.#parts.log.info({ nodeId: node.nodeId, role: node.role, untilMs: notAfterMs }, 'certificate.renewed')
    return this.#papers(issued)
  }

  /** For this master itself, which holds the authority's key and so needs no token. */
  async issueOwn(request: string, signal: AbortSignal): Promise<Papers> {
    const { state, proposer } = this.#parts
    const own = nodeId(this.#config.nodeId)
    const issued = await this.#issue('master', own, request, this.#config.hosts.map(hostName))
    const { serial, untilMs: notAfterMs, authority } = issued
    const presented = state.nodeIdentities.get(own)?.serials.at(-1)
    if (presented !== undefined) {
      await proposer.propose({ renewCertificate: { nodeId: own, presented, serial, notAfterMs, authority } }, signal)
      return this.#papers(issued)
    }
    const { tokenId, token } = await this.createToken({ role: 'master', uses: 1, ttlMs: 60_000 }, signal)
    const secretDigest = digestOf(token.split('.')[2] ?? '')
    const [hostname = ''] = this.#config.hosts
    const node = { nodeId: own, role: 'master', hostname, serials: [serial], notAfterMs, authority }
    await proposer.propose({ admitNode: { tokenId, secretDigest, node } }, signal)
    return this.#papers(issued)
  }

  /** Whoever guesses costs neither a signature nor an entry of the log; what counts is decided by the entry. */
  #checkToken({ tokenId, secret }: { readonly tokenId: string; readonly secret: string }): void {
    const row = this.#parts.state.joinTokens.get(tokenId)
    const given = Buffer.from(digestOf(secret))
    const wanted = Buffer.from(row?.secretDigest ?? '')
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw new Fault('denied', unknownToken.message)
  }

  async #establish(after: string, signal: AbortSignal): Promise<{ readonly digest: string }> {
    const { proposer, clock, log } = this.#parts
    const [{ newAuthority }, { seal }] = [await signing(), await sealing()]
    const made = await newAuthority(this.#config.clusterId, clock.wallMs())
    const sealedKey = await seal(made.key, this.#key())
    const { digest, certificate, untilMs: notAfterMs } = made
    await proposer.propose({ setAuthority: { after, authority: { digest, certificate, sealedKey, notAfterMs } } }, signal)
    log.info({ digest, untilMs: notAfterMs }, 'authority.established')
    return { digest }
  }

  async #issue(
    role: CertifiedRole,
    id: NodeId,
    request: string,
    hosts: readonly ReturnType<typeof hostName>[]
  ): Promise<IssuedCertificate & { readonly authority: string }> {
    const [authority, { issue }] = [await this.#open(), await signing()]
    const { clusterId } = this.#config
    const nowMs = this.#parts.clock.wallMs()
    const issued = await issue(authority, { name: { clusterId, role, nodeId: id }, request, nowMs, hosts })
    return { ...issued, authority: authority.digest }
  }

  async #open(): Promise<Authority & { readonly digest: string }> {
    const row = this.#signing()
    if (this.#opened?.digest === row.digest) return this.#opened
    const { unseal } = await sealing()
    const key = await unseal(row.sealedKey, this.#key())
    this.#opened = { digest: row.digest, certificate: row.certificate, key }
    return this.#opened
  }

  #signing() {
    const row = signingAuthority(this.#parts.state)
    if (row === undefined) throw new Fault('unavailable', 'the cluster has no certificate authority yet: try again in a moment')
    return row
  }

  #key(): Uint8Array {
    if (this.#clusterKey !== undefined) return this.#clusterKey
    const next = 'copy it from another master, or see "The cluster key is lost" in docs/identity.md'
    throw new Fault('unavailable', `this master has no file cluster-key and cannot sign certificates: ${next}`)
  }

  #papers(issued: IssuedCertificate): Papers {
    return { clusterId: this.#config.clusterId, certificate: issued.pem, authorities: this.authorities }
  }
}

// Loaded where they are needed first: they cost memory and time that most masters never spend.
const signing = () => import('./authority.ts')
const sealing = () => import('./seal.ts')

const hostName = (value: string) => ({ type: /^[0-9.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const), value })
