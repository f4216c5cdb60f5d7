import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LogRotation } from '../../../agent/logs/rotation.ts'
import { type Clock, systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { until } from '../../support/until.ts'

t.test('names made for the next rotation go with the container, though the disk refuses at first', async (t) => {
  const directory = t.testdir()
  const path = join(directory, 'log')
  writeFileSync(path, '')
  // A folder cannot be unlinked: it stands for the disk's refusal.
  mkdirSync(`${path}.tmp`)
  let refusals = 0
  const clock: Clock = {
    ...systemClock,
    sleep: async (ms, signal) => {
      if (ms !== 50) return systemClock.sleep(ms, signal)
      refusals += 1
      rmdirSync(`${path}.tmp`)
    }
  }
  const rotation = new LogRotation({ clock, log: silentLog })
  t.teardown(() => rotation.stop())
  rotation.watch({ path, controlPath: join(directory, 'ctl'), fileBytes: 65_536, files: 2 })
  await rotation.unwatch(path)
  t.equal(refusals, 1)
  t.strictSame(
    ['log', 'log.held', 'log.next', 'log.tmp'].filter((name) => existsSync(join(directory, name))),
    ['log']
  )
})

t.test('a container that ends after the rotation was stopped leaves no names either', async (t) => {
  const directory = t.testdir()
  const path = join(directory, 'log')
  writeFileSync(path, '')
  const rotation = new LogRotation({ clock: systemClock, log: silentLog })
  rotation.watch({ path, controlPath: join(directory, 'ctl'), fileBytes: 65_536, files: 2 })
  await until(() => existsSync(`${path}.tmp`))
  await rotation.stop()
  t.ok(existsSync(`${path}.tmp`), 'while it runs they stay, for the agent that comes next')
  await rotation.unwatch(path)
  t.strictSame(readdirSync(directory), ['log'])
})
