import t from 'tap'
import { Pace } from '../../master/pace.ts'

t.test('what takes long has to wait for a multiple of it before it goes on', async (t) => {
  const pace = new Pace(4)
  t.equal(pace.waitMs(0), 0)
  pace.worked(100, 130)
  t.equal(pace.waitMs(130), 120)
  t.equal(pace.waitMs(200), 50)
  t.equal(pace.waitMs(250), 0)
  t.equal(pace.waitMs(9_000), 0)
})
