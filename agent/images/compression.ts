import { spawn } from 'node:child_process'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { errnoOf, Fault } from '../../base/fault.ts'
import { ByteSource } from './byte-source.ts'
import type { ImageLimits } from './limits.ts'
import { blockBytes, looksLikeTar } from './tar-header.ts'

type Chunks = AsyncIterable<Uint8Array>

/** The plain tar within, whatever it is packed with, and no more than the limits allow. */
export async function plainTar(packed: Chunks, limits: ImageLimits, what: string): Promise<AsyncGenerator<Uint8Array>> {
  let packedBytes = 0
  const source = new ByteSource(counted(packed, (bytes) => (packedBytes += bytes)))
  const open = opener(await source.peek(blockBytes), what)
  const most = limits.unpackedBytes * 2 + limits.documentBytes
  let plainBytes = 0
  return counted(open(source.rest()), (bytes) => {
    plainBytes += bytes
    // Headers and padding come on top of what is unpacked, at worst a block or two for each file.
    if (plainBytes > most) throw new Fault('exhausted', `${what} is larger than ${limits.unpackedBytes} bytes when unpacked`)
    if (plainBytes > limits.ratioFloorBytes && plainBytes > packedBytes * limits.ratio) {
      throw new Fault(
        'exhausted',
        `${what} unpacks to more than ${limits.ratio} times its size, as only an archive made to do harm does`
      )
    }
  })
}

async function* counted(chunks: Chunks, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count(chunk.length)
    yield chunk
  }
}

function opener(start: Buffer, what: string): (chunks: Chunks) => Chunks {
  const magic = start.subarray(0, 6).toString('latin1')
  if (magic.startsWith('\x1f\x8b')) return (chunks) => gunzip(chunks, what)
  if (magic.startsWith('\x28\xb5\x2f\xfd')) return (chunks) => unzstd(chunks, what)
  if (magic.startsWith('BZh')) throw packedOtherwise(what, 'bzip2')
  if (magic.startsWith('\xfd7zXZ')) throw packedOtherwise(what, 'xz')
  if (start.length === 0) throw new Fault('invalid', `${what} is empty`)
  if (!looksLikeTar(start)) throw new Fault('invalid', `${what} is no tar archive, neither plain nor packed with gzip or zstd`)
  return (chunks) => chunks
}

const packedOtherwise = (what: string, program: string): Fault =>
  new Fault('unsupported', `${what} is packed with ${program}: unpack it first, or pack it with gzip or zstd`)

async function* gunzip(chunks: Chunks, what: string): AsyncGenerator<Uint8Array> {
  const inflate = createGunzip({ chunkSize: 256 * 1024 })
  const feeding = pipeline(Readable.from(chunks, { objectMode: false }), inflate).catch((e: unknown) => e)
  try {
    yield* inflate as AsyncIterable<Buffer>
  } catch (e) {
    throw damaged(e, what)
  } finally {
    inflate.destroy()
    await feeding
  }
}

/** Node 20 has no zstd of its own. */
async function* unzstd(chunks: Chunks, what: string): AsyncGenerator<Uint8Array> {
  const child = spawn('zstd', ['--decompress', '--stdout', '--quiet', '--memory=128MB'], { stdio: ['pipe', 'pipe', 'ignore'] })
  const ended = new Promise<unknown>((resolve) => {
    child.once('error', resolve)
    child.once('close', resolve)
  })
  const feeding = pipeline(Readable.from(chunks, { objectMode: false }), child.stdin).catch((e: unknown) => e)
  try {
    yield* child.stdout as AsyncIterable<Buffer>
    const end = await ended
    if (errnoOf(end) === 'ENOENT')
      throw new Fault('unsupported', `${what} is packed with zstd, and this node has no zstd program: install the package zstd`)
    const fed = await feeding
    if (fed instanceof Fault) throw fed
    if (end !== 0) throw new Fault('corrupt', `${what} is damaged: zstd cannot unpack it`)
  } finally {
    child.kill('SIGKILL')
    child.stdin.destroy()
    await ended
    await feeding
  }
}

const damaged = (e: unknown, what: string): unknown =>
  errnoOf(e)?.startsWith('Z_') === true ? new Fault('corrupt', `${what} is damaged: gzip cannot unpack it`, {}, e) : e
