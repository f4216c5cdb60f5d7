/**
 * Ticks to be made now, `lateMs` after the last ones. A leader makes up for a late turn by as many as a heartbeat needs: its followers
 * count on it whatever it is busy with. A follower does not: what the leader has sent meanwhile is still to be read.
 */
export function ticksDue(lateMs: number, tickMs: number, leads: boolean, heartbeatTicks: number): number {
  return leads ? Math.min(Math.max(1, Math.floor(lateMs / tickMs)), heartbeatTicks) : 1
}
