import { type Check, rowsOf } from '../verdict.ts'
import { showBytes } from './words.ts'

export interface DiskFacts {
  readonly path: string
  readonly totalBytes: number
  /** What programs without root's reserve may still write. */
  readonly freeBytes: number
  /** 0 for a file system without a fixed number, such as btrfs. */
  readonly totalInodes: number
  readonly freeInodes: number
  readonly readOnly: boolean
}

const gibibyte = 1024 ** 3
/** Both must hold: 2 % of a large disk is still much, and 1 GiB of a small one may be most of it. */
const full = { share: 0.02, bytes: gibibyte }
const nearlyFull = { share: 0.1, bytes: 20 * gibibyte }

export const judgeDisks = (disks: readonly DiskFacts[]): readonly Check[] =>
  disks.flatMap((disk) => [judgeSpace(disk), ...judgeInodes(disk)])

function judgeSpace(disk: DiskFacts): Check {
  const row = rowsOf('disk', disk.path)
  if (disk.readOnly) {
    return row.failure('the file system is read-only', 'see why in dmesg, repair it with fsck and mount it again with rw')
  }
  const share = disk.totalBytes === 0 ? 0 : disk.freeBytes / disk.totalBytes
  const reason = `${showBytes(disk.freeBytes)} of ${showBytes(disk.totalBytes)} free (${Math.floor(share * 100)} %)`
  const remedy = 'remove ended tasks (hearth task rm), unused images (hearth image rm, then collect), or grow the disk'
  const below = (bound: typeof full): boolean => share < bound.share && disk.freeBytes < bound.bytes
  if (below(full)) return row.failure(`${reason}: full`, remedy)
  return below(nearlyFull) ? row.warning(`${reason}: nearly full`, remedy) : row.ok(reason)
}

function judgeInodes(disk: DiskFacts): readonly Check[] {
  if (disk.totalInodes === 0) return []
  const row = rowsOf('inodes', disk.path)
  const share = disk.freeInodes / disk.totalInodes
  const reason = `${disk.freeInodes} of ${disk.totalInodes} inodes free (${Math.floor(share * 100)} %)`
  const remedy = 'find the folder with the most files (du --inodes -x) and remove what is not needed'
  if (share < 0.02 && disk.freeInodes < 10_000) return [row.failure(reason, remedy)]
  return [share < 0.1 && disk.freeInodes < 200_000 ? row.warning(reason, remedy) : row.ok(reason)]
}
