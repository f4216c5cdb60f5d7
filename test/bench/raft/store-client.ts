/** One connection to one server that keeps keys, the same for every system that is measured. */
export interface StoreClient {
  /** Resolves when the write is acknowledged; rejects where nobody can know. `slot`: at most one write of each is in flight. */
  put(slot: number, key: string, value: Uint8Array): Promise<void>
  /** Linearizable as far as the system has that; rejects where it is not answered. */
  read(key: string): Promise<void>
  /** Resolves when the connection has ended. */
  readonly ended: Promise<void>
  close(): void
}

export type Dial = (port: number) => Promise<StoreClient>

export const systems = ['hearth', 'hearth-http2', 'etcd', 'zookeeper'] as const
export type System = (typeof systems)[number]

/** Requests that wait for their answer, by the number they went under. */
export class Waiting {
  readonly #all = new Map<number, { readonly resolve: () => void; readonly reject: (why: Error) => void }>()
  #ended: Error | undefined

  add(id: number): Promise<void> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => this.#all.set(id, { resolve, reject }))
  }

  settle(id: number, why?: Error): void {
    const waiting = this.#all.get(id)
    this.#all.delete(id)
    if (why === undefined) waiting?.resolve()
    else waiting?.reject(why)
  }

  fail(why: Error): void {
    this.#ended = why
    for (const { reject } of this.#all.values()) reject(why)
    this.#all.clear()
  }
}
