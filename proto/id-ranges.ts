import type { IdRange } from './gen/messages.ts'

/**
 * Which ids of nodes belong to roles. Above what systemd gives to containers (1879048191 is the last) and below what it keeps for
 * foreign images (2147352576 is the first) nobody gives ids away (systemd, UIDS-GIDS).
 */

/** As many as user databases count on: 0 to 65535, of which 65534 is nobody. */
const idsPerRange = 65_536
const firstOfRanges = 1_879_048_192
const lastRangeEnd = 2_147_352_576
/** All of them. */
export const idsOfRoles: IdRange = { first: firstOfRanges, count: lastRangeEnd - firstOfRanges }
/** So many roles can have one. */
export const mostRanges = (lastRangeEnd - firstOfRanges) / idsPerRange

export const rangeNumber = (number: number): IdRange => ({ first: firstOfRanges + number * idsPerRange, count: idsPerRange })

export const isRangeOfRole = ({ first, count }: IdRange): boolean =>
  count === idsPerRange && first >= firstOfRanges && first + count <= lastRangeEnd && (first - firstOfRanges) % idsPerRange === 0
