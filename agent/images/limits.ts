/** What one import may take. At each limit the import ends with a Fault that names it, and leaves nothing. */
export interface ImageLimits {
  /** Of the archive as it arrives. */
  readonly archiveBytes: number
  /** Of all layers together, unpacked. */
  readonly unpackedBytes: number
  readonly entries: number
  readonly pathBytes: number
  /** Of one extended header, and of one JSON document. */
  readonly documentBytes: number
  readonly layers: number
  /** Unpacked bytes for each packed one, counted once `ratioFloorBytes` are unpacked. */
  readonly ratio: number
  readonly ratioFloorBytes: number
  /** What must stay free on the disk. */
  readonly reserveBytes: number
}

const gibibyte = 1024 ** 3

export const defaultImageLimits: ImageLimits = {
  archiveBytes: 20 * gibibyte,
  unpackedBytes: 20 * gibibyte,
  entries: 2_000_000,
  pathBytes: 3_072,
  documentBytes: 4 * 1024 * 1024,
  layers: 128,
  ratio: 200,
  ratioFloorBytes: gibibyte,
  reserveBytes: 512 * 1024 * 1024
}
