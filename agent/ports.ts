import type { OciMount } from '../isolators/isolator.ts'
import type { Init } from '../proto/codec.ts'
import type {
  KillRow,
  LedgerHead,
  LedgerRecord,
  ObjectRow,
  QuarantineRow,
  SignatureRule,
  TaskRow,
  TaskStatus
} from '../proto/gen/messages.ts'
import type { Artifacts } from './images/artifacts.ts'
import type { HealthCheck } from './images/health-check.ts'
import type { ImageSignature } from './images/signature.ts'

/** What the agent's rooms expect of each other, where one room is behind another's wall. */

/** agent/ledger/ledger.ts */
export interface Ledger {
  readonly view: LedgerView
  readonly quarantined: readonly QuarantineRow[]
  /** The disk is full and the reserve given up: what ends a task is still recorded, a new task row is refused (`exhausted`). */
  readonly low: boolean
  /** Whether new tasks are taken: where the disk was full it is tried again. */
  hasRoom(): Promise<boolean>
  /**
   * Resolves when the record is in the kernel (`kernel`: enough for boot-bound objects) or on the disk (`disk`: desired state,
   * statuses, kills); the view shows it from then on. Order of calls is order in the file.
   */
  append(record: Init<LedgerRecord>, durability: 'kernel' | 'disk'): Promise<void>
  close(): Promise<void>
}

export interface LedgerView {
  readonly head: LedgerHead
  /** By container id; gone once forgotten. */
  readonly tasks: ReadonlyMap<string, LedgerTask>
  /** What belongs to no container (image layers), by `kind:id`; released ones are gone. */
  readonly objects: ReadonlyMap<string, ObjectRow>
  /** The next free number of the status outbox. */
  readonly nextStatusNumber: number
}

export interface LedgerTask {
  /** `group` is null where the row itself was lost to damage and only later records tell of the container. */
  readonly row: TaskRow
  readonly kill: KillRow | null
  /** By `kind:id`; released ones are gone. */
  readonly objects: ReadonlyMap<string, ObjectRow>
  readonly latest: TaskStatus | null
  readonly unacknowledged: readonly TaskStatus[]
  /** Records later than its first were lost to damage: that something is not recorded does not prove that it did not happen. */
  readonly doubtful: boolean
}

/** agent/images/store.ts */
export interface ImageStore {
  /** Throws `Fault('not-found')` for an unknown image, `corrupt` for one whose layers are damaged. */
  resolve(reference: string, signal: AbortSignal): Promise<ResolvedImage>
  /** Pulls the image where the wish says so, and does nothing where it does not. */
  fetch(reference: string, wish: PullWish, signal: AbortSignal): Promise<void>
  /** agent/images/artifacts.ts */
  readonly artifacts: Pick<Artifacts, 'fetch' | 'place'>
}

export interface PullWish {
  readonly policy: 'missing' | 'always' | 'never'
  /** Of the task's tenant: signatures that are not here are asked for. Whether they do is for the one to say who has the image resolved. */
  readonly signatures?: readonly SignatureRule[]
  /** How far a pull has come; called only where there is one. */
  readonly onProgress: (progress: { readonly archiveBytes: number; readonly totalBytes: number }) => void
}

export interface ResolvedImage {
  readonly reference: string
  /** `sha256:…` of the manifest; of the built-in image its own fingerprint. */
  readonly digest: string
  /** Absolute directories, uppermost first. Never empty. */
  readonly layers: readonly string[]
  /** Mounts that are part of the image itself (the built-in image `host`). */
  readonly mounts: readonly OciMount[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
  readonly volumes?: readonly string[]
  readonly healthCheck?: HealthCheck
  /** By which digests it may have been signed, and the signatures that are known of it; absent: its own, and none. */
  readonly roots?: readonly string[]
  readonly signatures?: readonly ImageSignature[]
}

/** What a route of the local API gets and gives; the same for the unix socket and for streams over the agent link. */
export interface LocalRequest {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly body: AsyncIterable<Uint8Array>
}

export interface LocalResponse {
  readonly status: number
  readonly contentType: string
  readonly body: AsyncIterable<Uint8Array>
}

export type LocalRouter = (request: LocalRequest, signal: AbortSignal) => Promise<LocalResponse>
