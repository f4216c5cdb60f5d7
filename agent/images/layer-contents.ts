import { createHash } from 'node:crypto'
import * as fs from 'node:fs'

/** What one path of a layer was when it was unpacked: one line, as JSON, of the layer's list of contents. */
export interface ContentRow {
  /** Below the layer's root, one byte to a character; empty: the root itself. */
  readonly path: string
  readonly kind: 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'whiteout'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** The sha256 of a file; where a link leads. */
  readonly is: string
}

const flushBytes = 256 * 1024

/**
 * Writes a layer's list of contents while the layer is unpacked. Its own digest, kept with the image, vouches for every line of it,
 * and so for every byte of the layer.
 */
export class ContentsWriter {
  readonly #file: number
  readonly #hash = createHash('sha256')
  #held: string[] = []
  #heldBytes = 0

  constructor(path: string) {
    this.#file = fs.openSync(path, 'wx', 0o600)
  }

  add(row: ContentRow): void {
    const line = `${JSON.stringify(row)}\n`
    this.#held.push(line)
    this.#heldBytes += line.length
    if (this.#heldBytes >= flushBytes) this.#flush()
  }

  /** The digest of the whole list. */
  finish(): string {
    this.#flush()
    fs.closeSync(this.#file)
    return `sha256:${this.#hash.digest('hex')}`
  }

  abandon(): void {
    fs.closeSync(this.#file)
  }

  #flush(): void {
    const bytes = Buffer.from(this.#held.join(''))
    this.#hash.update(bytes)
    for (let at = 0; at < bytes.length; ) at += fs.writeSync(this.#file, bytes, at)
    this.#held = []
    this.#heldBytes = 0
  }
}
