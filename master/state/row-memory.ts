import type { StoreRow } from '../../proto/gen/messages.ts'

/** Small values lie side by side in one piece: memory of its own for each costs more to get and to collect than to fill. */
const smallBytes = 1024
const pieceBytes = 8 * 1024
/** Of a piece of which less than this is still in use the rest is moved elsewhere, so that few rows never keep much memory. */
const worthKeeping = 1 / 4

interface Piece {
  readonly bytes: Uint8Array
  used: number
  live: number
  readonly held: Held[]
}

/** Whoever has a row, and where its value lies. */
export interface Held {
  row: StoreRow
  piece: Piece | undefined
}

/** The memory of the values of one store. */
export class RowMemory {
  #open: Piece | undefined

  /** Gives `held` a row of the same content, with a value of its own. */
  keep(held: Held, { key, value, version }: StoreRow): void {
    const { piece, row } = held
    const isSmall = value.length > 0 && value.length <= smallBytes
    held.piece = isSmall ? this.#roomFor(value.length) : undefined
    held.row = { key, value: held.piece === undefined ? new Uint8Array(value) : put(held.piece, value), version }
    held.piece?.held.push(held)
    if (piece !== undefined) this.#free(piece, row.value.length)
  }

  /** The row is gone. */
  drop(held: Held): void {
    const { piece, row } = held
    held.piece = undefined
    held.row = nothing
    if (piece !== undefined) this.#free(piece, row.value.length)
  }

  #roomFor(bytes: number): Piece {
    const before = this.#open
    if (before !== undefined && before.used + bytes <= pieceBytes) return before
    const opened: Piece = { bytes: new Uint8Array(pieceBytes), used: 0, live: 0, held: [] }
    this.#open = opened
    // Too little of it may be in use already; that is less than what the new one has room for.
    if (before !== undefined) this.#free(before, 0)
    return opened
  }

  #free(piece: Piece, bytes: number): void {
    piece.live -= bytes
    if (piece === this.#open || piece.live >= pieceBytes * worthKeeping) return
    for (const held of piece.held.splice(0)) if (held.piece === piece) this.keep(held, held.row)
  }
}

const nothing: StoreRow = { key: '', value: new Uint8Array(), version: 0 }

function put(piece: Piece, value: Uint8Array): Uint8Array {
  const copy = piece.bytes.subarray(piece.used, piece.used + value.length)
  copy.set(value)
  piece.used += value.length
  piece.live += value.length
  return copy
}
