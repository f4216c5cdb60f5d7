import t from 'tap'
import { AbsenceBook, type AbsenceRules, absenceDefaults } from '../../master/absence-book.ts'

const rules = (more: Partial<AbsenceRules> = {}): AbsenceRules => ({
  ...absenceDefaults,
  returnMs: 15_000,
  goneAfterMs: 0,
  ...more
})

const names = (count: number): readonly string[] => Array.from({ length: count }, (_, i) => `agent-${i}`)

t.test('an agent that left is judged once, when its time is over', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  book.left('a', 20_000, 4_500)
  t.same(book.judge(24_400, 16), [])
  t.same(book.judge(24_500, 16), [{ kind: 'unreachable', agentId: 'a', silentMs: 4_500 }])
  t.same(book.judge(90_000, 16), [])
})

t.test('an agent that came back is not judged', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  book.left('a', 20_000, 4_500)
  book.came('a', 24_000)
  t.same(book.judge(60_000, 16), [])
})

t.test('a rack that fails is told at once, a whole cluster that falls silent only bit by bit', async (t) => {
  const book = new AbsenceBook(rules({ unreachable: { burst: 256, perSecond: 64 } }), 0)
  for (const agentId of names(10_000)) book.left(agentId, 20_000, 4_500)
  t.equal(book.judge(24_500, 10_000).length, 256)
  t.equal(book.putOff, 10_000 - 256)
  t.equal(book.judge(24_500, 10_000).length, 0)
  t.equal(book.judge(25_500, 10_000).length, 64)
  t.equal(book.judge(35_500, 10_000).length, 256, 'what was not used is not saved up')
  let told = 256 + 64 + 256
  for (let nowMs = 35_600; told < 10_000; nowMs += 100) told += book.judge(nowMs, 16).length
  t.equal(told, 10_000, 'and each is told in the end')
})

t.test('no more are judged at a time than can be carried out', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  for (const agentId of names(40)) book.left(agentId, 20_000, 4_500)
  t.equal(book.judge(24_500, 16).length, 16)
  t.equal(book.judge(24_500, 0).length, 0)
  t.equal(book.judge(24_500, 100).length, 24)
})

t.test('a new leader does not judge while those it knows still come back, and not for ever', async (t) => {
  const comes = (untilMs: number): number => {
    const book = new AbsenceBook(rules(), 0)
    for (const agentId of names(1_000)) book.expect(agentId)
    for (let nowMs = 0; ; nowMs += 100) {
      if (nowMs < untilMs) book.came(`agent-${nowMs / 100}`, nowMs)
      if (book.judge(nowMs, 1).length > 0) return nowMs
    }
  }
  t.equal(comes(0), 15_000, 'none comes: the time they get')
  t.equal(comes(10_000), 15_000)
  t.equal(comes(30_000), 29_900 + 3_000, 'they keep coming: until they have stopped')
  t.equal(comes(90_000), 60_000, 'at most four times the time they get')
})

t.test('whom a new leader has met itself it judges as ever', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  for (const agentId of names(10)) book.expect(agentId)
  book.came('agent-1', 1_000)
  book.left('agent-1', 2_000, 4_500)
  t.match(book.judge(6_500, 16), [{ agentId: 'agent-1' }])
})

t.test('an unreachable agent is given up after the time that is set, no more than so many a second', async (t) => {
  const book = new AbsenceBook(rules({ goneAfterMs: 600_000, gone: { burst: 10, perSecond: 1 } }), 0)
  for (const agentId of names(30)) book.unreachable(agentId, 1_000)
  t.same(book.judge(600_900, 100), [])
  t.equal(book.judge(601_000, 100).length, 10)
  t.equal(book.judge(602_000, 100).length, 1)
  book.came('agent-29', 602_500)
  let gone = 11
  for (let nowMs = 603_000; nowMs < 660_000; nowMs += 1_000) gone += book.judge(nowMs, 100).length
  t.equal(gone, 29, 'but the one that came back')
})

t.test('without a time nobody is given up', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  book.unreachable('a', 0)
  t.same(book.judge(Number.MAX_SAFE_INTEGER, 100), [])
})

t.test('a verdict that could not be carried out is given again, unless its agent is heard of meanwhile', async (t) => {
  const book = new AbsenceBook(rules(), 0)
  book.left('a', 0, 4_500)
  const [verdict] = book.judge(4_500, 16)
  if (verdict === undefined) throw new Error('there is one')
  book.again(verdict, 4_600, 1_000)
  t.same(book.judge(5_500, 16), [])
  t.same(book.judge(5_600, 16), [{ kind: 'unreachable', agentId: 'a', silentMs: 5_500 }])
  book.left('a', 6_000, 4_500)
  book.again(verdict, 6_100, 0)
  t.same(book.judge(6_200, 16), [])
})
