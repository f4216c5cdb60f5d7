import t from 'tap'
import { ticksDue } from '../../../master/consensus/ticks-due.ts'

t.test('a leader that is late makes up for it by no more than a heartbeat needs', async (t) => {
  t.same(
    [20, 25, 40, 50, 75, 5_000].map((lateMs) => ticksDue(lateMs, 25, true, 2)),
    [1, 1, 1, 2, 2, 2]
  )
})

t.test('a follower that is late makes up for nothing: it would take its own silence for the leader’s', async (t) => {
  t.same(
    [20, 50, 5_000].map((lateMs) => ticksDue(lateMs, 25, false, 2)),
    [1, 1, 1]
  )
})
