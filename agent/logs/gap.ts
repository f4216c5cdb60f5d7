/**
 * Output that is known to be lost, and how much of it is not: conmon drops what it cannot write and says nothing.
 *
 *   disk_full         the disk had no room; the record that was cut off stands in the log
 *   unattended_bound  while no agent looked, the task wrote more than conmon keeps (three times its --log-size-max)
 *   rotated_away      a reader was slower than the task's log budget
 *   damaged           bytes stand in the log that are no record of conmon's
 */
export type GapCause = 'disk_full' | 'unattended_bound' | 'rotated_away' | 'damaged'

export interface LogGap {
  readonly cause: GapCause
  /** The last output before it, wall time; 0 where that is not known. */
  readonly fromMs: number
  /** The first output after it, wall time; 0 where none is there yet. */
  readonly toMs: number
  /** The log shows it at its place: a record stands there that was cut off. */
  readonly torn?: true
}

export const sameGap = (a: LogGap, b: LogGap): boolean => a.cause === b.cause && a.fromMs === b.fromMs
