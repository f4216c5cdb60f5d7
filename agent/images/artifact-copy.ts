import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { ByteSource } from './byte-source.ts'
import { plainTar } from './compression.ts'
import { LayerWriter } from './layer-writer.ts'
import { TarReader } from './tar-reader.ts'
import type { ArtifactCopyRequest, FetchedArtifact } from './unpack-message.ts'

/**
 * `draft/out` out of the store's file: itself, or what is packed in it, by the same rules as an image's layer; all of it belongs to the
 * task's user. Throws `Fault('corrupt')` where the file is not what it was when it was fetched. Runs in the child.
 */
export async function copyArtifact(request: ArtifactCopyRequest): Promise<FetchedArtifact> {
  const { draft, blob, sha256, executable, uid, gid } = request
  const out = join(draft, 'out')
  const fetched = await digestOf(blob)
  if (fetched.sha256 !== sha256) throw new Fault('corrupt', 'an artifact in the store is damaged')
  if (request.unpack) {
    await unpack(request, out)
    ownTree(out, uid, gid)
  } else {
    fs.copyFileSync(blob, out, fs.constants.COPYFILE_FICLONE)
    fs.chownSync(out, uid, gid)
    fs.chmodSync(out, executable ? 0o755 : 0o644)
  }
  return fetched
}

async function unpack({ blob, limits }: ArtifactCopyRequest, out: string): Promise<void> {
  const source = new ByteSource(await plainTar(fs.createReadStream(blob), limits, 'the artifact'))
  const reader = new TarReader(source, limits, 'needed')
  fs.mkdirSync(out, { mode: 0o755 })
  const writer = new LayerWriter(out, limits, { bytes: 0, entries: 0 }, { add: () => undefined }, { whiteouts: false })
  try {
    for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) await writer.add(entry, reader)
    for await (const _ of source.rest());
    await writer.finish()
  } catch (e) {
    await writer.abandon()
    throw e
  }
}

/** The kernel takes set-user-id bits and file capabilities away with the owner (chown(2)). */
function ownTree(path: string, uid: number, gid: number): void {
  const open = [Buffer.from(path)]
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    fs.lchownSync(folder, uid, gid)
    for (const entry of fs.readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
      const child = Buffer.concat([folder, Buffer.from('/'), entry.name])
      if (entry.isDirectory()) open.push(child)
      else fs.lchownSync(child, uid, gid)
    }
  }
}

async function digestOf(path: string): Promise<FetchedArtifact> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of fs.createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    bytes += chunk.length
    hash.update(chunk)
  }
  return { sha256: hash.digest('hex'), bytes }
}
