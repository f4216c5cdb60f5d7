import type { ResolvedImage } from '../ports.ts'
import type { HealthCheck } from './health-check.ts'
import type { ImageRecord } from './image-list.ts'
import { hostImageName } from './reference.ts'
import type { ImageKind } from './unpack-message.ts'

/** What people are told of an image. */
export interface ImageSummary {
  readonly name: string
  readonly digest: string
  readonly kind: 'host' | ImageKind
  /** 0 for the built-in image. */
  readonly importedAtMs: number
  readonly archiveBytes: number
  readonly unpackedBytes: number
  readonly entries: number
  readonly layers: number
  /** Device nodes of the archive that were left out. */
  readonly skippedDevices: number
  readonly skippedAttributes: number
}

export interface ImageDetails extends ImageSummary {
  readonly layerDigests: readonly string[]
  /** Of its layers, for the ids of roles with tasks in user namespaces. */
  readonly views: number
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
  readonly volumes?: readonly string[]
  readonly healthCheck?: HealthCheck
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** How a container of it begins, with a PATH where the image has none. */
export function runOptions(
  config: Pick<
    ResolvedImage,
    'entrypoint' | 'command' | 'environment' | 'workingDirectory' | 'user' | 'stopSignal' | 'volumes' | 'healthCheck'
  >
) {
  const { entrypoint, command, user, stopSignal, volumes = [], healthCheck } = config
  const hasPath = config.environment.some((pair) => pair.startsWith('PATH='))
  const environment = hasPath ? config.environment : [defaultPath, ...config.environment]
  const more = { volumes, ...(healthCheck === undefined ? {} : { healthCheck }) }
  return { entrypoint, command, user, stopSignal, ...more, environment, workingDirectory: config.workingDirectory || '/' }
}

export function summaryOf(record: ImageRecord): ImageSummary {
  const { name, digest, kind, importedAtMs, archiveBytes, unpackedBytes, entries, skippedDevices, skippedAttributes } = record
  return {
    name,
    digest,
    kind,
    importedAtMs,
    archiveBytes,
    unpackedBytes,
    entries,
    layers: record.layers.length,
    skippedDevices,
    skippedAttributes
  }
}

export function hostSummary(host: ResolvedImage): ImageSummary {
  const nothing = { importedAtMs: 0, archiveBytes: 0, unpackedBytes: 0, entries: 0, skippedDevices: 0, skippedAttributes: 0 }
  return { name: hostImageName, digest: host.digest, kind: 'host', layers: 1, ...nothing }
}
