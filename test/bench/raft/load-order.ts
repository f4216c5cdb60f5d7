import type { System } from './store-client.ts'

export interface Load {
  readonly system: System
  /** Of the server that leads. */
  readonly port: number
  readonly kind: 'write' | 'read'
  readonly inFlight: number
  readonly connections: number
  readonly warmUpMs: number
  readonly ms: number
  readonly valueBytes: number
}

export interface Measured {
  readonly n: number
  /** With those of the warm-up. */
  readonly total: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  /** CPU of the generator, in cores. */
  readonly clientCores: number
}
