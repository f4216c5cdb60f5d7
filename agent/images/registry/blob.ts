import { createHash } from 'node:crypto'
import { Fault } from '../../../base/fault.ts'
import type { Descriptor } from '../manifest.ts'
import { type Answer, bytesOf, drop } from './http.ts'
import { mayPass, pauseBefore, type Session } from './session.ts'
import type { Patience } from './settings.ts'

/** So much in one attempt is progress: the attempts are counted anew. */
const progressBytes = 1024 * 1024

/**
 * The bytes of one blob, of exactly the size and digest that its manifest gives. Where the connection breaks it goes on from the
 * last byte (distribution-spec 1.1, "Pulling blobs": Range). The digest is known at the end only: until then nothing that was made
 * of these bytes may be used.
 */
export async function* blobBytes(
  session: Session,
  blob: Descriptor,
  patience: Patience,
  signal: AbortSignal
): AsyncGenerator<Buffer> {
  const hash = createHash('sha256')
  for await (const chunk of joined(session, blob, patience, signal)) {
    hash.update(chunk)
    yield chunk
  }
  const found = `sha256:${hash.digest('hex')}`
  if (found !== blob.digest) {
    throw new Fault('corrupt', `${session.host} sends other bytes for the blob ${blob.digest}: their digest is ${found}`)
  }
}

/** As many bytes as the blob has, from as many answers as it takes. */
async function* joined(session: Session, blob: Descriptor, patience: Patience, signal: AbortSignal): AsyncGenerator<Buffer> {
  const tries = new Tries(patience, signal)
  for (let bytes = 0; bytes < blob.size; ) {
    const before = bytes
    try {
      for await (const chunk of part(session, blob, bytes, patience, signal)) {
        bytes += chunk.length
        if (bytes > blob.size) throw tooLong(session, blob)
        yield chunk
      }
      if (bytes < blob.size) throw tooShort(session, blob, bytes)
    } catch (e) {
      await tries.failed(e, bytes - before)
    }
  }
}

/** Attempts in a row without progress. */
class Tries {
  readonly #patience: Patience
  readonly #signal: AbortSignal
  #failures = 0

  constructor(patience: Patience, signal: AbortSignal) {
    this.#patience = patience
    this.#signal = signal
  }

  /** Waits until it may be tried again, or throws what cannot be helped. */
  async failed(e: unknown, brought: number): Promise<void> {
    this.#signal.throwIfAborted()
    this.#failures = brought >= progressBytes ? 1 : this.#failures + 1
    if (!mayPass(e) || this.#failures >= this.#patience.attempts) throw e
    await pauseBefore(this.#failures, e, this.#patience, this.#signal)
  }
}

async function* part(
  session: Session,
  blob: Descriptor,
  from: number,
  patience: Patience,
  signal: AbortSignal
): AsyncGenerator<Buffer> {
  const range: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-` }
  const answer = await session.get(`blobs/${blob.digest}`, range, signal)
  let skip = from
  if (answer.status === 206) {
    checkRange(answer, blob, from)
    skip = 0
  }
  checkLength(answer, blob, from - skip)
  for await (const chunk of bytesOf(answer, patience)) {
    // A registry without ranges begins anew: what we have is left out.
    if (skip >= chunk.length) skip -= chunk.length
    else {
      yield chunk.subarray(skip)
      skip = 0
    }
  }
}

function checkRange(answer: Answer, blob: Descriptor, from: number): void {
  const range = answer.headers['content-range'] ?? ''
  if (range.startsWith(`bytes ${from}-`)) return
  drop(answer)
  throw new Fault(
    'unavailable',
    `${answer.url.host} sends ${JSON.stringify(range.slice(0, 40))} of the blob ${blob.digest} where it was asked to go on at ${from}`
  )
}

function checkLength(answer: Answer, blob: Descriptor, from: number): void {
  const text = answer.headers['content-length']
  if (text === undefined || Number(text) + from === blob.size) return
  drop(answer)
  throw new Fault(
    'corrupt',
    `${answer.url.host} has ${Number(text) + from} bytes for the blob ${blob.digest}, and its manifest says ${blob.size}`
  )
}

const tooLong = (session: Session, { digest, size }: Descriptor): Fault =>
  new Fault('corrupt', `${session.host} sends more than the ${size} bytes that the blob ${digest} has`)

const tooShort = (session: Session, { digest, size }: Descriptor, bytes: number): Fault =>
  new Fault('unavailable', `${session.host} sends ${bytes} bytes of the blob ${digest}, which has ${size}`)
