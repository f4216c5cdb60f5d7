import { rm } from 'node:fs/promises'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile } from '../../base/replace-file.ts'
import type { Service } from '../../base/service.ts'
import type { Credentials } from '../../identity/credentials.ts'
import { placeText } from '../../identity/places.ts'
import type { ClusterId } from '../../proto/ids.ts'
import { isCancelled } from '../background.ts'
import type { ListenAddress } from '../config.ts'
import type { Proposer } from '../proposer.ts'
import type { AppliedChange, Replica } from '../replica.ts'
import { type ClusterState, highestFeatureLevel } from '../state/cluster.ts'
import { CertificateDesk, type Papers } from './certificate-desk.ts'
import type { CredentialsBoard } from './credentials-board.ts'
import type { Visitor } from './guard.ts'
import { goodCredentials, takeCredentials, trustedBy } from './own-credentials.ts'
import { TlsDoor } from './tls-door.ts'

interface IdentityParts {
  readonly replica: Pick<Replica, 'leadership' | 'changes'> & { readonly state: ClusterState }
  readonly proposer: Pick<Proposer, 'propose'>
  readonly clock: Clock
  readonly log: Log
  readonly agents: (socket: TLSSocket, visitor: Visitor) => void
  readonly http: (socket: TLSSocket, visitor: Visitor) => void
  /** Where the certificate is shown to other masters, if it is. */
  readonly board?: CredentialsBoard | undefined
  /** The other masters, where there may be some. */
  readonly peers?: {
    readonly lackLevel?: (level: number) => Promise<readonly number[]>
    readonly recheckPeers?: (removed?: string) => void
  }
  /** Signs for this master while another one leads. */
  readonly leader?: ((request: string, signal: AbortSignal) => Promise<Papers>) | undefined
}

export interface IdentityConfig {
  readonly stateDir: string
  /** Where the address of the open door is written. */
  readonly addressPath: string
  readonly clusterId: ClusterId
  readonly nodeId: string
  readonly clusterKey: Uint8Array | undefined
  /** Absent: nobody comes in from other hosts. */
  readonly listen: ListenAddress | undefined
  /** Under which other hosts know this one, the best name first. */
  readonly hosts: readonly string[]
  /** Whatever is due is due by the wall clock, which may be set at any moment: this often it is looked at. */
  readonly lookEveryMs: number
}

/** From this level on the log has authorities, tokens and nodes. */
const neededLevel = 2
const retryMs = 1_000

/** Who this cluster is to other hosts: keeps its authority, this master's certificate and the door that needs both. */
export class ClusterIdentity implements Service {
  readonly name = 'identity'
  readonly desk: CertificateDesk
  readonly #parts: IdentityParts
  readonly #config: IdentityConfig
  readonly #closing = new AbortController()
  #credentials: Credentials | undefined
  #door: TlsDoor | undefined
  #loops: readonly Promise<void>[] = []
  #tending: Promise<void> = Promise.resolve()
  #nap = new AbortController()
  /** What keeps it from being well: told once, since it is tried again every second. */
  #told = ''

  constructor(parts: IdentityParts, config: IdentityConfig) {
    this.#parts = parts
    this.#config = config
    this.desk = new CertificateDesk({ ...parts, state: parts.replica.state }, config)
  }

  async start(): Promise<void> {
    const { listen, addressPath } = this.#config
    await rm(addressPath, { force: true })
    // Whoever wants to be reached waits until it is; everybody else has an authority soon.
    if (listen !== undefined || this.#parts.board !== undefined) await this.#tend().catch((e: unknown) => this.#later(e))
    // Whoever leads has to see to what the cluster needs, and its own certificate can wait for nobody else then.
    this.#parts.replica.leadership.watch(() => this.#nap.abort(), this.#closing.signal)
    this.#loops = [this.#keep(), this.#watch()]
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#door?.stop()
    await Promise.all([...this.#loops, this.#tending])
  }

  /** Of the door for other hosts; undefined while it is closed. */
  get port(): number | undefined {
    return this.#door?.port
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const isWell = await this.#tend().then(
        () => true,
        (e: unknown) => this.#later(e)
      )
      // Only a change of the leadership, or the stop, ends it early.
      const untilMs = isWell ? this.#config.lookEveryMs : retryMs
      await this.#parts.clock.sleep(untilMs, AbortSignal.any([signal, this.#nap.signal])).catch(() => undefined)
      this.#nap = new AbortController()
    }
  }

  #later(e: unknown): false {
    if (this.#closing.signal.aborted || isCancelled(e)) return false
    if (!isFault(e)) throw e
    if (this.#told !== e.message) this.#parts.log.warn({ code: e.code, err: e.message }, 'identity.not_ready')
    this.#told = e.message
    return false
  }

  /** One after the other: two at once would both take a certificate. */
  #tend(): Promise<void> {
    const tending = this.#tending.then(() => this.#lookAtAll())
    this.#tending = tending.catch(() => undefined) // told to whoever asked
    return tending
  }

  /** Levels that no certificate needs come last: in the middle of an upgrade everything else goes on without them. */
  async #lookAtAll(): Promise<void> {
    await this.#lookAtPapers()
    const { leadership, state } = this.#parts.replica
    while (leadership.leading && state.featureLevel < highestFeatureLevel) await this.#raiseLevel(state.featureLevel + 1)
    this.#told = ''
  }

  /** Whatever is missing, in the order in which one needs the other. */
  async #lookAtPapers(): Promise<void> {
    const { signal } = this.#closing
    const { replica, clock } = this.#parts
    const { leadership, state } = replica
    if (leadership.leading) {
      while (state.featureLevel < neededLevel) await this.#raiseLevel(state.featureLevel + 1)
      await this.desk.found(signal)
    }
    const { listen } = this.#config
    if (listen === undefined && this.#parts.board === undefined) return
    const good = await goodCredentials(this.#config, clock)
    const { desk } = this
    // Of a newer authority only once everybody believes it, for else they would turn away from this master.
    const isDue = good === undefined || (!desk.isNewest && desk.isFollowed)
    const { leader } = this.#parts
    const issue = (request: string): Promise<Papers> =>
      leadership.leading || leader === undefined ? desk.issueOwn(request, signal) : leader(request, signal)
    this.#use(isDue ? await takeCredentials(issue, this.#config) : await trustedBy(desk, good, this.#config))
    if (listen !== undefined) await this.#open(listen)
  }

  /** Only once every member knows it: whoever does not would have to stop (consensus/raft-replica.ts). */
  async #raiseLevel(level: number): Promise<void> {
    const { proposer, peers, log } = this.#parts
    const lacking = (await peers?.lackLevel?.(level)) ?? []
    if (lacking.length > 0) {
      const who = lacking.join(', ')
      throw new Fault('unavailable', `feature level ${level} waits for members ${who}: upgrade them, or remove them`)
    }
    await proposer.propose({ raiseFeatureLevel: { level } }, this.#closing.signal)
    log.info({ level }, 'feature_level.raised')
  }

  #use(credentials: Credentials): void {
    const before = this.#credentials
    this.#credentials = credentials
    this.#parts.board?.show(credentials)
    if (before?.serial === credentials.serial && before.authorities === credentials.authorities) return
    this.#door?.credentialsChanged()
  }

  async #open(listen: ListenAddress): Promise<void> {
    if (this.#door !== undefined) return
    const { replica, log, agents, http } = this.#parts
    const { clusterId } = this.#config
    const shown = (): Credentials => {
      if (this.#credentials === undefined) throw new Error('the door opens with credentials')
      return this.#credentials
    }
    const door = new TlsDoor({ state: replica.state, log, agents, http }, { clusterId, listen }, shown)
    await door.start().catch((e: unknown) => {
      const seen = errnoOf(e)
      if (seen === undefined) throw e
      throw new Fault(
        'unavailable',
        `--listen ${placeText(listen)} cannot be opened (${seen}): is the port taken, is the address this host’s?`
      )
    })
    this.#door = door
    await replaceFile(this.#config.addressPath, `${placeText({ host: listen.host, port: door.port ?? listen.port })}\n`, 0o644)
    log.info({ host: listen.host, port: door.port }, 'door.open')
  }

  /** Follows the log: whoever was removed is out as soon as that is committed. */
  async #watch(): Promise<void> {
    const { signal } = this.#closing
    const { replica } = this.#parts
    while (!signal.aborted) {
      try {
        for await (const change of replica.changes(replica.state.index + 1, signal)) this.#changed(change)
      } catch (e) {
        if (signal.aborted) return
        // A snapshot has overtaken it: what changed is not told, so everything is looked at.
        if (!isFault(e, 'exhausted')) throw e
        this.#door?.recheck()
        this.#parts.peers?.recheckPeers?.()
      }
    }
  }

  #changed({ command, answer }: AppliedChange): void {
    if (answer.refused) return
    const { removeNode, renewCertificate, admitNode, setAuthority, retireAuthority } = command
    if (removeNode !== null) this.#parts.peers?.recheckPeers?.(removeNode.nodeId)
    const about = removeNode?.nodeId ?? renewCertificate?.nodeId ?? admitNode?.node?.nodeId
    if (about !== undefined) this.#door?.recheck(about)
    // The last one to follow a new authority makes it this master's turn.
    if (renewCertificate !== null && this.#parts.replica.state.authorities.size > 1) this.#tendSoon()
    if (setAuthority === null && retireAuthority === null) return
    // Nodes hear of it when they come in: so they come in anew.
    this.#tendSoon(() => this.#door?.cutNodes())
  }

  #tendSoon(then: () => void = () => undefined): void {
    void this.#tend()
      .then(then)
      .catch((e: unknown) => this.#later(e))
  }
}
