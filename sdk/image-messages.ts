export interface Image {
  readonly name: string
  readonly digest: string
  readonly kind: string
  /** 0 for the built-in image. */
  readonly importedAtMs: number
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  readonly layers: number
  readonly skippedDevices: number
  readonly skippedAttributes: number
}

export interface ImageDetails extends Image {
  readonly layerDigests: readonly string[]
  /** Of its layers, for the ids of roles with tasks in user namespaces; nodes of earlier versions tell none. */
  readonly views?: number
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
  readonly volumes?: readonly string[]
  readonly healthCheck?: { readonly command: readonly string[] }
}

export interface ImageVerdict {
  readonly image: string
  readonly digest: string
  readonly layers: number
  readonly damage: readonly {
    readonly digest: string
    readonly kind: string
    readonly paths: readonly string[]
    readonly count: number
  }[]
  readonly repaired: boolean
}

export interface Pruned extends Collected {
  readonly images: readonly string[]
}

export interface Collected {
  readonly layers: number
  readonly blobs: number
  readonly bytes: number
}
