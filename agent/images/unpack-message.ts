import type { FaultDetail } from '../../base/fault.ts'
import type { ImageLimits } from './limits.ts'
import type { ImageConfig, Platform } from './manifest.ts'

/** What the agent and its unpack child say to each other: one JSON argument there, JSON lines back. */
export type ArchiveKind = 'auto' | 'rootfs' | 'oci' | 'docker-archive'

export interface UnpackRequest {
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

export interface UnpackedImage {
  readonly kind: Exclude<ArchiveKind, 'auto'>
  readonly name: string
  /** Of the manifest. */
  readonly digest: string
  readonly configDigest: string
  readonly config: ImageConfig
  /** Lowest first. */
  readonly layers: readonly UnpackedLayer[]
  readonly archiveBytes: number
}

export interface UnpackedLayer {
  readonly diffId: string
  readonly entries: number
  readonly bytes: number
  readonly skippedDevices: number
  readonly skippedAttributes: number
}

export interface ImportProgress {
  readonly phase: 'reading' | 'unpacking' | 'publishing'
  /** Of the archive, so far. */
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  /** The layer at work, from 1; 0 before the first. */
  readonly layer: number
  /** 0 while their number is unknown. */
  readonly layers: number
}

export type UnpackMessage =
  | { readonly type: 'progress'; readonly progress: ImportProgress }
  | { readonly type: 'done'; readonly image: UnpackedImage }
  | { readonly type: 'fault'; readonly code: string; readonly message: string; readonly detail: FaultDetail }
