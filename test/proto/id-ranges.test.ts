import t from 'tap'
import { idsOfRoles, isRangeOfRole, mostRanges, rangeNumber } from '../../proto/id-ranges.ts'

t.test('ranges do not overlap, and nothing else is one', async (t) => {
  t.equal(rangeNumber(0).first, idsOfRoles.first)
  t.equal(rangeNumber(1).first, idsOfRoles.first + 65_536)
  t.equal(rangeNumber(mostRanges - 1).first + 65_536, idsOfRoles.first + idsOfRoles.count)
  t.ok([0, 1, mostRanges - 1].every((number) => isRangeOfRole(rangeNumber(number))))
  t.notOk(isRangeOfRole(rangeNumber(mostRanges)))
  for (const wrong of [
    { first: 0, count: 65_536 },
    { first: idsOfRoles.first + 1, count: 65_536 },
    { first: idsOfRoles.first, count: 2 * 65_536 }
  ])
    t.notOk(isRangeOfRole(wrong), JSON.stringify(wrong))
})
