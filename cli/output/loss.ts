import type { LostOutput } from '../../sdk/stream.ts'

const causes: Readonly<Record<string, string>> = {
  disk_full: 'the node’s disk was full',
  unattended_bound: 'the task wrote more than its monitor keeps while no agent ran',
  rotated_away: 'it was rotated out of the task’s log budget before it was read',
  damaged: 'the log is damaged'
}

/** One line for people, for standard error. */
export function showLoss({ cause, fromMs, toMs }: LostOutput): string {
  const time = (ms: number): string => new Date(ms).toISOString()
  const from = fromMs > 0 ? ` after ${time(fromMs)}` : ''
  const to = toMs > 0 ? ` and before ${time(toMs)}` : ''
  return `hearth: output is missing here${from}${from !== '' ? to : to.replace(' and', '')}: ${causes[cause] ?? cause}; how much is not known\n`
}
