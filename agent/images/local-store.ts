import type { Clock } from '../../base/clock.ts'
import type { Exec } from '../../base/exec.ts'
import type { Log } from '../../base/log.ts'
import type { ImageStore } from '../ports.ts'
import type { Artifacts } from './artifacts.ts'
import type { VerifyOptions } from './image-care.ts'
import type { ImageDetails, ImageSummary } from './image-views.ts'
import type { ImageLimits } from './limits.ts'
import type { Collected, Pruned, PruneWish } from './prune.ts'
import type { ProxySettings } from './registry/proxy.ts'
import type { RegistrySettings } from './registry/settings.ts'
import type { ArchiveKind, ImportProgress, PullSecrets } from './unpack-message.ts'
import type { Verdict } from './verdict.ts'

export interface ImageStoreParts {
  readonly exec: Exec
  readonly log: Log
  readonly clock: Clock
  /** Of layers as other ids have them, which go with their layers. */
  readonly views?: { collect(): Promise<number>; countOf(layers: readonly string[]): Promise<number> }
}

export interface ImageStoreConfig {
  readonly directory: string
  /** The host's root; another one only in tests. */
  readonly hostRoot?: string
  /** The command line of the unpack child (unpack-main.ts, bundled); the request is appended as one argument. */
  readonly unpackProgram: readonly string[]
  readonly limits?: ImageLimits
  readonly registries: RegistrySettings
  /** Between this node and registries behind TLS; loopback addresses are spoken to without it. */
  readonly proxy?: ProxySettings | undefined
  /** Another one than before: the machine went down in between. */
  readonly bootId: string
}

export interface LocalImageStore extends ImageStore {
  readonly artifacts: Artifacts
  /** An empty name stands for the one that the archive gives its image. */
  import(
    archive: AsyncIterable<Uint8Array>,
    options: { readonly name: string; readonly kind: ArchiveKind },
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageSummary>
  /** From its registry, whether it is here or not: what is here of it is not fetched again. */
  pull(
    reference: string,
    secrets: PullSecrets,
    onProgress: (progress: ImportProgress) => void,
    signal: AbortSignal
  ): Promise<ImageSummary>
  list(): Promise<readonly ImageSummary[]>
  show(reference: string): Promise<ImageDetails>
  /** Takes the name away; what it named goes with the next `collect`. */
  remove(reference: string): Promise<void>
  /** Removes blobs and layers that neither an image nor a container with one of these digests uses. */
  collect(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Collected>
  /** Removes images that no container uses, then collects. `isEnough` is asked after each one; default: never enough. */
  prune(wish: PruneWish, inUse: ReadonlySet<string>, signal: AbortSignal, isEnough?: () => Promise<boolean>): Promise<Pruned>
  /** Prunes where the disk is nearly full, until it is not; images of archives stay. */
  relieve(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Pruned>
  /**
   * Looks at every byte of an image. With `repair`, what is damaged is pulled anew, and nothing else; that needs an image of a registry
   * which no container runs from (`inUse`, as for `collect`).
   */
  verify(reference: string, options: VerifyOptions, signal: AbortSignal): Promise<Verdict>
  /** To be called where the agent ends in order: the next boot then has nothing to suspect. */
  close(): Promise<void>
}
