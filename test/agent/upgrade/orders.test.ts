import t from 'tap'
import { readUpgradeOrders } from '../../../agent/upgrade/orders.ts'

t.test('a version on trial has two thirds of what the launcher waits for each step of its self-test', async (t) => {
  t.equal(readUpgradeOrders({}).patienceMs, 20_000)
  t.equal(readUpgradeOrders({ HEARTH_UPGRADE_DEADLINE_S: '300' }).patienceMs, 200_000)
  for (const wrong of ['0', '-1', '1.5', 'soon'])
    t.throws(() => readUpgradeOrders({ HEARTH_UPGRADE_DEADLINE_S: wrong }), { code: 'invalid' }, wrong)
})
