/** One client's request. Its number counts up per client, so that a repeat can be told from a new request. */
export interface Request {
  readonly client: number
  readonly number: number
  readonly key: string
  readonly kind: 'write' | 'swap'
  readonly expected: number
  readonly value: number
}

interface Session {
  number: number
  swapped: boolean
}

interface Saved {
  readonly values: readonly (readonly [string, number])[]
  readonly sessions: readonly (readonly [number, Session])[]
  readonly hash: number
}

export const mix = (hash: number, value: number): number => {
  const x = Math.imul((hash ^ value) >>> 0, 0x9e3779b1) >>> 0
  return (x ^ (x >>> 15)) >>> 0
}

export function mixBytes(hash: number, bytes: Uint8Array): number {
  let mixed = mix(hash, bytes.length)
  for (const byte of bytes) mixed = mix(mixed, byte)
  return mixed
}

/** Registers with exactly-once sessions: what the master's state is to the real thing, as far as consensus can break it. */
export class Machine {
  readonly values = new Map<string, number>()
  readonly #sessions = new Map<number, Session>()
  /** Of everything that was applied, in order. */
  hash = 1

  /** Whether a write took effect; a repeat gets the answer of the first time. Undefined: nobody asked anything. */
  apply(data: Uint8Array): { readonly request: Request; readonly swapped: boolean; readonly isRepeat: boolean } | undefined {
    this.hash = mixBytes(this.hash, data)
    if (data.length === 0) return undefined
    const request = decodeRequest(data)
    const session = this.#sessions.get(request.client)
    if (session !== undefined && session.number >= request.number) {
      return { request, swapped: session.swapped, isRepeat: true }
    }
    const swapped = request.kind === 'write' || (this.values.get(request.key) ?? 0) === request.expected
    if (swapped) this.values.set(request.key, request.value)
    this.#sessions.set(request.client, { number: request.number, swapped })
    return { request, swapped, isRepeat: false }
  }

  save(): Uint8Array {
    const saved: Saved = { values: [...this.values], sessions: [...this.#sessions], hash: this.hash }
    return Buffer.from(JSON.stringify(saved))
  }

  static restore(data: Uint8Array): Machine {
    const machine = new Machine()
    if (data.length === 0) return machine
    const saved = JSON.parse(Buffer.from(data).toString()) as Saved
    for (const [key, value] of saved.values) machine.values.set(key, value)
    for (const [client, session] of saved.sessions) machine.#sessions.set(client, { ...session })
    machine.hash = saved.hash
    return machine
  }
}

export const encodeRequest = (request: Request): Uint8Array => Buffer.from(JSON.stringify(request))

const decodeRequest = (data: Uint8Array): Request => JSON.parse(Buffer.from(data).toString()) as Request
