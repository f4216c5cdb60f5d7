import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Containers that Docker was asked for and not yet told to remove, one empty file each: written before, so that no container of
 * Docker's is without one, and outliving the boot as Docker's containers do. What has none needs no word from Docker.
 */
export class AskedFor {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  has(containerId: string): boolean {
    return existsSync(join(this.#directory, containerId))
  }

  put(containerId: string): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
    writeFileSync(join(this.#directory, containerId), '')
  }

  drop(containerId: string): void {
    rmSync(join(this.#directory, containerId), { force: true })
  }
}
