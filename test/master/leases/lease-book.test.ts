import t from 'tap'
import { LeaseBook, surelyOverMs } from '../../../master/leases/lease-book.ts'

const lease = { frameworkId: 'f', taskId: 't', containerId: 'c', lengthMs: 10_000 }

t.test('a lease is over a length and the difference of clocks after the last request that may have been granted', async (t) => {
  const book = new LeaseBook()
  book.recorded(lease, 1_000)
  t.same(book.over(1_000 + 10_500), [], 'a clock that is 5 % slower is not there yet')
  t.ok(book.granting(lease, 5_000))
  t.same(book.over(5_000 + surelyOverMs(10_000) - 1), [])
  t.same(book.over(5_000 + surelyOverMs(10_000)), [lease])
  t.ok(surelyOverMs(10_000) > 10_000 / 0.95)
})

t.test('what is on record twice counts from the first time, and an older request takes nothing back', async (t) => {
  const book = new LeaseBook()
  book.recorded(lease, 1_000)
  t.ok(book.granting(lease, 9_000))
  book.recorded(lease, 1_000)
  t.ok(book.granting(lease, 4_000))
  t.same(book.over(4_000 + surelyOverMs(10_000)), [])
})

t.test('one whose end has been told is not granted any more, until it is forgotten', async (t) => {
  const book = new LeaseBook()
  book.recorded(lease, 0)
  t.same(book.over(20_000), [lease])
  t.notOk(book.granting(lease, 20_000))
  t.same(book.over(20_001), [lease], 'it is told until somebody has seen to it')
  book.forget('c')
  t.same(book.over(90_000), [])
})
