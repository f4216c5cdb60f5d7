import type { StoreRow } from '../../proto/gen/messages.ts'

/** The rows of one framework's store in the order of their keys (UTF-16 code units, the same on every machine). */
export class OrderedRows {
  readonly #rows = new Map<string, StoreRow>()
  readonly #keys: string[] = []
  #bytes = 0

  get size(): number {
    return this.#rows.size
  }

  /** What counts against the framework's quota. */
  get bytes(): number {
    return this.#bytes
  }

  get(key: string): StoreRow | undefined {
    return this.#rows.get(key)
  }

  set(row: StoreRow): void {
    const old = this.#rows.get(row.key)
    if (old === undefined) this.#keys.splice(this.#position(row.key), 0, row.key)
    else this.#bytes -= rowBytes(old.key, old.value)
    this.#rows.set(row.key, row)
    this.#bytes += rowBytes(row.key, row.value)
  }

  delete(key: string): void {
    const old = this.#rows.get(key)
    if (old === undefined) return
    this.#rows.delete(key)
    this.#keys.splice(this.#position(key), 1)
    this.#bytes -= rowBytes(key, old.value)
  }

  /** Rows whose key starts with `prefix`, in order. The store must not change while this runs. */
  *scan(prefix = ''): Generator<StoreRow> {
    for (let i = this.#position(prefix); i < this.#keys.length; i += 1) {
      const key = this.#keys[i]
      const row = key?.startsWith(prefix) ? this.#rows.get(key) : undefined
      if (row === undefined) return
      yield row
    }
  }

  /** Where `key` stands or would stand. */
  #position(key: string): number {
    let low = 0
    let high = this.#keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#keys[middle] ?? '') < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Key, value and a flat share for what holds them. */
export const rowBytes = (key: string, value: Uint8Array): number => Buffer.byteLength(key) + value.length + 64
