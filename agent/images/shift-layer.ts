import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { ShiftedLayer, ShiftRequest } from './unpack-message.ts'

/** What a user database calls nobody: the place of ids that the range has no room for. */
const nobody = 65_534

/**
 * Gives every file of a layer to the ids of a range, in `upper` of the draft: through an overlay over the layer that copies owners and
 * modes and no content (Documentation/filesystems/overlayfs, "Metadata only copy up"). To be run in a mount namespace of its own.
 */
export function shiftLayer({ draft, layer, first, count }: ShiftRequest): ShiftedLayer {
  const [upper, work, merged] = [join(draft, 'upper'), join(draft, 'work'), join(draft, 'merged')]
  for (const folder of [upper, work, merged]) fs.mkdirSync(folder, { mode: 0o755 })
  // `volatile`: nothing is waited for; who uses the result knows when it is on the disk.
  const options = `lowerdir=${escaped(layer)},upperdir=${escaped(upper)},workdir=${escaped(work)},metacopy=on,volatile`
  run('mount', ['-t', 'overlay', '-o', options, 'none', merged])
  try {
    const idOf = (id: number): number => first + (id < count ? id : nobody)
    return { entries: shiftTree(Buffer.from(merged, 'utf8').toString('latin1'), idOf) }
  } finally {
    run('umount', ['--', merged])
  }
}

/** `root`: one byte to a character, as names of files are any bytes. Tells how many entries there were. */
function shiftTree(root: string, idOf: (id: number) => number): number {
  const open = [root]
  let entries = 0
  shift(Buffer.from(root, 'latin1'), idOf)
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    for (const entry of fs.readdirSync(Buffer.from(folder, 'latin1'), { withFileTypes: true, encoding: 'buffer' })) {
      const path = `${folder}/${entry.name.toString('latin1')}`
      if (!shift(Buffer.from(path, 'latin1'), idOf)) continue
      entries += 1
      if (entry.isDirectory()) open.push(path)
    }
  }
  return entries
}

/** False for a name that a whiteout takes away: folders of one layer alone show it (overlayfs, "whiteouts"). */
function shift(path: Buffer, idOf: (id: number) => number): boolean {
  try {
    const { uid, gid, mode } = fs.lstatSync(path)
    fs.lchownSync(path, idOf(uid), idOf(gid))
    // chown(2) takes these bits from a file away.
    if ((mode & 0o6000) !== 0 && (mode & fs.constants.S_IFMT) === fs.constants.S_IFREG) fs.chmodSync(path, mode & 0o7777)
    return true
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return false
    throw e
  }
}

const escaped = (path: string): string => path.replace(/[\\:,]/g, (c) => `\\${c}`)

function run(program: string, words: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, words, { encoding: 'utf8' })
  if (status === 0) return
  throw new Fault('unavailable', `${program} refused: ${error?.message ?? stderr.trim().split('\n')[0] ?? ''}`)
}
