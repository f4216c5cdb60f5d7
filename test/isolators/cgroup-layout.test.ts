import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'

const v1 = [
  '30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct',
  '31 29 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
  '32 29 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd'
]
const layoutOf = (t: Test, lines: readonly string[]) => {
  const file = join(t.testdir(), 'mountinfo')
  writeFileSync(file, `${lines.join('\n')}\n22 1 8:1 / / rw - ext4 /dev/vda rw\n`)
  return readCgroupLayout(file)
}

t.test('one v2 tree and nothing else is mode v2', async (t) => {
  const layout = layoutOf(t, ['25 22 0:24 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate'])
  t.equal(layout.mode, 'v2')
  t.same(cgroupDirectories(layout, '/hearth/x'), ['/sys/fs/cgroup/hearth/x'])
})

t.test('a v2 tree beside v1 controllers is hybrid, without one it is v1', async (t) => {
  const hybrid = layoutOf(t, [...v1, '40 29 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw'])
  t.equal(hybrid.mode, 'hybrid')
  t.equal(hybrid.unified, '/sys/fs/cgroup/unified')
  t.same(cgroupDirectories(hybrid, '/h'), [
    '/sys/fs/cgroup/cpu/h',
    '/sys/fs/cgroup/memory/h',
    '/sys/fs/cgroup/systemd/h',
    '/sys/fs/cgroup/unified/h'
  ])
  t.equal(layoutOf(t, v1).mode, 'v1')
})
