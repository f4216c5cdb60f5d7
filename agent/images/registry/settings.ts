/** What the node's operator says of registries, as the agent hands it to its child. */
export interface RegistrySettings {
  /** False: names without a registry are looked for nowhere but at Docker Hub's mirrors. */
  readonly dockerHub: boolean
  /** Asked before the registry itself, in this order. */
  readonly mirrors: readonly Mirror[]
  /** Hosts, with their port where it is not the usual one, that may be spoken to without TLS. */
  readonly insecure: readonly string[]
  /** docker's config.json: the credentials. */
  readonly dockerConfig: string
  /** Folders with `HOST/*.crt`: authorities for one registry, as docker and podman have them. */
  readonly certificates: readonly string[]
  readonly patience: Patience
}

export interface Mirror {
  readonly registry: string
  /** `https://host:port`; with `http:` its host must be a loopback address or an insecure one. */
  readonly endpoint: string
}

/** How long a registry may keep us waiting, and how often it is asked again. */
export interface Patience {
  /** Without one byte. */
  readonly stallMs: number
  /** A body that is slower than `leastBytesPerSecond` over this time is given up. */
  readonly slowMs: number
  readonly leastBytesPerSecond: number
  /** In a row, none of which brought more than a mebibyte. */
  readonly attempts: number
  readonly firstPauseMs: number
}

export const usualPatience: Patience = {
  stallMs: 30_000,
  slowMs: 60_000,
  leastBytesPerSecond: 2_048,
  attempts: 5,
  firstPauseMs: 200
}
