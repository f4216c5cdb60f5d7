import type { FaultDetail } from '../../base/fault.ts'
import type { ImageLimits } from './limits.ts'
import type { ImageConfig, Platform } from './manifest.ts'
import type { ProxySettings } from './registry/proxy.ts'
import type { RegistrySettings } from './registry/settings.ts'
import type { ImageSignature } from './signature.ts'

/** What the agent and its unpack child say to each other: one JSON argument and its standard input there, JSON lines back. */
export type ChildRequest =
  | UnpackRequest
  | PullRequest
  | VerifyRequest
  | SignaturesRequest
  | ShiftRequest
  | ArtifactRequest
  | ArtifactCopyRequest

export type ArchiveKind = 'auto' | 'rootfs' | 'oci' | 'docker-archive'

/** The archive comes by the child's standard input. */
export interface UnpackRequest {
  readonly task: 'unpack'
  /** An empty folder of the import's own: `layers/`, `blobs/` and `spool/` are made in it. */
  readonly draft: string
  /** Where finished layers lie: one that is there is not unpacked again. */
  readonly finished: string
  readonly kind: ArchiveKind
  /** Empty: the archive's own name for the image. */
  readonly name: string
  readonly platform: Platform
  readonly limits: ImageLimits
}

/** `PullSecrets` come by the child's standard input, as JSON: an argument could be read by everybody on the host. */
export interface PullRequest {
  readonly task: 'pull'
  readonly draft: string
  readonly finished: string
  /** A name as the store has it. */
  readonly name: string
  readonly platform: Platform
  readonly limits: ImageLimits
  readonly registries: RegistrySettings
  /** Layers that are fetched although they are here: they are damaged. */
  readonly anew: readonly string[]
}

/** Asks for the signatures of an image that is here. `PullSecrets` come as with a pull. */
export interface SignaturesRequest {
  readonly task: 'signatures'
  readonly draft: string
  readonly name: string
  readonly roots: readonly string[]
  readonly limits: ImageLimits
  readonly registries: RegistrySettings
}

/** One file from elsewhere, into `draft/blob`. `PullSecrets` come as with a pull. */
export interface ArtifactRequest {
  readonly task: 'artifact'
  readonly draft: string
  /** http, https or file; of `file` the path that it was found to be. */
  readonly url: string
  /** Hexadecimal; empty: whatever comes. */
  readonly sha256: string
  readonly limits: ImageLimits
  readonly registries: RegistrySettings
}

/** What was fetched before, for one task: `draft/out`, a file or a folder that belongs to its user. */
export interface ArtifactCopyRequest {
  readonly task: 'artifact-copy'
  readonly draft: string
  /** The file in the store, and what it has to be. */
  readonly blob: string
  readonly sha256: string
  readonly unpack: boolean
  readonly executable: boolean
  readonly uid: number
  readonly gid: number
  readonly limits: ImageLimits
}

export interface FetchedArtifact {
  readonly sha256: string
  readonly bytes: number
}

export interface VerifyRequest {
  readonly task: 'verify'
  readonly draft: string
  readonly layers: readonly LayerToVerify[]
}

/** Of a child in a mount namespace of its own. */
export interface ShiftRequest {
  readonly task: 'shift'
  /** The result comes to lie in its `upper/`. */
  readonly draft: string
  readonly layer: string
  /** The id of the node that 0 of the layer becomes, and how many follow it. */
  readonly first: number
  readonly count: number
}

export interface ShiftedLayer {
  readonly entries: number
  /** How many programs kept their file capabilities; absent where the host lacks what it takes to keep them. */
  readonly capabilities?: number | undefined
}

export type ChildResult = UnpackedImage | readonly DamagedLayer[] | readonly ImageSignature[] | ShiftedLayer | FetchedArtifact

export interface LayerToVerify {
  readonly diffId: string
  /** Beside it lies the list of its contents. */
  readonly directory: string
  /** The digest of that list. */
  readonly contents: string
}

export interface DamagedLayer {
  readonly diffId: string
  /** The first of the paths that are not what they were, for people. */
  readonly paths: readonly string[]
  readonly damaged: number
}

export interface PullSecrets {
  /** For the image's own registry, in the place of what config.json has. */
  readonly credentials?: { readonly username: string; readonly password: string }
  /** Of the node; there may be a password in its address. */
  readonly proxy?: ProxySettings
}

/** How an image came: in an archive of this kind, or from a registry. */
export type ImageKind = Exclude<ArchiveKind, 'auto'> | 'registry'

export interface UnpackedImage {
  readonly kind: ImageKind
  readonly name: string
  /** Of the manifest. */
  readonly digest: string
  readonly configDigest: string
  readonly config: ImageConfig
  /** Lowest first. */
  readonly layers: readonly UnpackedLayer[]
  readonly archiveBytes: number
  /** Of an image of a registry: by which digests it may have been signed, and what signatures lay beside it. */
  readonly roots?: readonly string[]
  readonly signatures?: readonly ImageSignature[]
}

export interface UnpackedLayer {
  readonly diffId: string
  readonly entries: number
  readonly bytes: number
  readonly skippedDevices: number
  readonly skippedAttributes: number
  /** The digest of the list of its contents; layers of earlier versions have none. */
  readonly contents?: string
}

export interface ImportProgress {
  readonly phase: 'reading' | 'unpacking' | 'asking' | 'pulling' | 'publishing' | 'verifying'
  /** Of the archive, or of the layers as the registry sends them, so far. */
  readonly archiveBytes: number
  /** What `archiveBytes` comes to in the end; 0 while that is unknown. */
  readonly totalBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  /** The layer at work, from 1; of a pull, whose layers come side by side, how many are there. */
  readonly layer: number
  /** 0 while their number is unknown. */
  readonly layers: number
}

/** Layers that lie finished in the draft of a pull that failed, and the image's documents, which name them. */
export interface KeptLayers {
  readonly digest: string
  readonly configDigest: string
  readonly layers: readonly UnpackedLayer[]
}

export type UnpackMessage =
  | { readonly type: 'progress'; readonly progress: ImportProgress }
  | { readonly type: 'done'; readonly result: ChildResult }
  | {
      readonly type: 'fault'
      readonly code: string
      readonly message: string
      readonly detail: FaultDetail
      readonly kept?: KeptLayers
    }
