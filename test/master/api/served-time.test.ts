import t from 'tap'
import { ServedTime } from '../../../master/api/served-time.ts'

t.test('a process that stood still does not count what passed meanwhile as silence', async (t) => {
  const served = new ServedTime(1_000, 500)
  for (const nowMs of [1_250, 1_500, 1_900]) served.look(nowMs)
  t.equal(served.ms, 900)
  served.look(61_900)
  t.equal(served.ms, 1_400)
  served.look(62_150)
  t.equal(served.ms, 1_650)
})
