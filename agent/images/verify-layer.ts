import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import type { ContentRow } from './layer-contents.ts'
import { shownName } from './tar-header.ts'
import type { DamagedLayer, LayerToVerify } from './unpack-message.ts'

const bufferBytes = 1024 * 1024
const told = 8

/** Compares a layer with the list of its contents, byte by byte. Undefined: it is what was unpacked. Extended attributes are not looked at. */
export function verifyLayer(layer: LayerToVerify, onBytes: (bytes: number) => void): DamagedLayer | undefined {
  const { diffId, directory, contents } = layer
  const bytes = readOrNone(`${directory}.contents`)
  const listIs = bytes === undefined ? 'missing' : `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (bytes === undefined || listIs !== contents) return { diffId, paths: ['(the list of its contents)'], damaged: 1 }
  const wrong: string[] = []
  let rows = 0
  for (const line of linesOf(bytes)) {
    const row = JSON.parse(line) as ContentRow
    if (row.path !== '') rows += 1
    if (!isSame(directory, row, onBytes)) wrong.push(row.path)
  }
  const more = entriesBelow(directory) - rows
  if (more > 0) wrong.push('(what was added to it)')
  return wrong.length === 0 ? undefined : { diffId, paths: wrong.slice(0, told).map(shownName), damaged: wrong.length }
}

function isSame(directory: string, row: ContentRow, onBytes: (bytes: number) => void): boolean {
  const path = placeOf(directory, row.path)
  const stats = statsOrNone(path)
  if (stats === undefined) return false
  switch (row.kind) {
    case 'hardlink':
      return stats.ino === statsOrNone(placeOf(directory, row.is))?.ino
    case 'whiteout':
      return stats.isCharacterDevice() && stats.rdev === 0
    case 'symlink':
      return stats.isSymbolicLink() && isOwned(stats, row) && fs.readlinkSync(path, 'latin1') === row.is
    case 'fifo':
      return stats.isFIFO() && hasMode(stats, row)
    case 'directory':
      return stats.isDirectory() && hasMode(stats, row)
    case 'file':
      return stats.isFile() && hasMode(stats, row) && stats.size === row.size && digestOf(path, onBytes) === row.is
  }
}

const isOwned = (stats: fs.Stats, row: ContentRow): boolean => stats.uid === row.uid && stats.gid === row.gid
const hasMode = (stats: fs.Stats, row: ContentRow): boolean => isOwned(stats, row) && (stats.mode & 0o7777) === row.mode

/** Undefined for a file that the disk cannot read any more. */
function digestOf(path: Buffer, onBytes: (bytes: number) => void): string | undefined {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(bufferBytes)
  let file: number | undefined
  try {
    file = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW)
    for (let read = fs.readSync(file, buffer); read > 0; read = fs.readSync(file, buffer)) {
      hash.update(buffer.subarray(0, read))
      onBytes(read)
    }
    return hash.digest('hex')
  } catch {
    return undefined // an error of the disk is damage, whichever it is
  } finally {
    if (file !== undefined) fs.closeSync(file)
  }
}

function statsOrNone(path: Buffer): fs.Stats | undefined {
  try {
    return fs.lstatSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined // a folder on the way is none any more
  }
}

function readOrNone(path: string): Buffer | undefined {
  try {
    return fs.readFileSync(path)
  } catch {
    return undefined // missing or unreadable is the same to who needs it
  }
}

function* linesOf(bytes: Buffer): Iterable<string> {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at)
    yield bytes.toString('utf8', at, end)
    at = end + 1
  }
}

function entriesBelow(root: string): number {
  let entries = 0
  const open = [Buffer.from(root).toString('latin1')]
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    const found = namesIn(folder)
    entries += found.length
    for (const entry of found) if (entry.isDirectory()) open.push(`${folder}/${entry.name.toString('latin1')}`)
  }
  return entries
}

function namesIn(folder: string): readonly fs.Dirent<Buffer>[] {
  try {
    return fs.readdirSync(Buffer.from(folder, 'latin1'), { withFileTypes: true, encoding: 'buffer' })
  } catch {
    return [] // its own row tells
  }
}

const placeOf = (directory: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(directory), Buffer.from(path === '' ? '' : `/${path}`, 'latin1')])
