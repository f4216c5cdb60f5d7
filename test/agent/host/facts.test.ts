import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { afterReserve } from '../../../agent/host/capacity.ts'
import { type HostRoots, readCgroups, systemRoots } from '../../../agent/host/cgroups.ts'
import { systemExec } from '../../../agent/host/exec.ts'
import { readHostFacts } from '../../../agent/host/facts.ts'
import { askVersions } from '../../../agent/host/program-versions.ts'
import { scalarOf } from '../../../proto/resources.ts'

const never = new AbortController().signal
const v1Line = (name: string, n: number) =>
  `${30 + n} 24 0:${30 + n} / /sys/fs/cgroup/${name} rw,relatime shared:9 - cgroup cgroup rw,${name}`
const hybrid = {
  'proc/self/mountinfo': [
    '22 1 8:1 / / rw,relatime - ext4 /dev/vda rw',
    ...['cpu,cpuacct', 'memory', 'pids', 'blkio'].map(v1Line),
    '40 24 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw'
  ].join('\n'),
  'sys/fs/cgroup/unified/cgroup.controllers': 'hugetlb\n'
}
const v2 = {
  'proc/self/mountinfo': '40 24 0:40 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate',
  'sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids rdma misc\n'
}
const v1 = { 'proc/self/mountinfo': ['cpu', 'memory'].map(v1Line).join('\n') }
const base = {
  'proc/sys/kernel/osrelease': '6.1.0-28-amd64\n',
  'proc/sys/kernel/hostname': 'node-7\n',
  'proc/sys/kernel/random/boot_id': '2e4f5c1a-0000-4000-8000-000000000001\n',
  'proc/sys/kernel/seccomp/actions_avail': 'kill_process kill_thread trap errno trace log allow\n',
  'proc/self/status': 'Name:\tnode\nCpus_allowed:\tf3\nCpus_allowed_list:\t0-1,4-7\n',
  'proc/meminfo': 'MemTotal:       16777216 kB\nMemFree: 1 kB\n',
  'etc/os-release': 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
}

function host(t: Test, files: Readonly<Record<string, string>>): { readonly roots: HostRoots; readonly stateDir: string } {
  const dir = t.testdir()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  const at = (name: string): string => join(dir, name)
  return { roots: { proc: at('proc'), sys: at('sys'), etc: at('etc') }, stateDir: dir }
}

/** A host with runc and conmon, and no crun. */
const versions = Promise.resolve({
  runc: { version: 'runc version 1.2.3' },
  crun: { missing: 'crun is not installed: apt-get install crun' },
  conmon: { version: 'conmon version 1.2.3' }
})

t.test('a pure v2 host is told by its one tree', async (t) => {
  const { roots } = host(t, v2)
  const view = await readCgroups(roots)
  const mount = join(roots.sys, 'fs/cgroup')
  const place = { version: 2, mount }
  t.same(view, { mode: 'v2', unified: mount, controllers: { cpu: place, memory: place, pids: place } })
})

t.test('a hybrid host has its controllers on v1 and a bare v2 tree beside them', async (t) => {
  const { roots } = host(t, hybrid)
  const view = await readCgroups(roots)
  const place = (name: string) => ({ version: 1, mount: join(roots.sys, 'fs/cgroup', name) })
  t.same(view, {
    mode: 'hybrid',
    unified: join(roots.sys, 'fs/cgroup/unified'),
    controllers: { cpu: place('cpu,cpuacct'), memory: place('memory'), pids: place('pids') }
  })
})

t.test('a host with v1 alone is below the floor and told how to get above it', async (t) => {
  const { roots, stateDir } = host(t, { ...base, ...v1 })
  t.equal((await readCgroups(roots)).mode, 'v1')
  const facts = readHostFacts({ versions, roots }, { stateDir })
  await t.rejects(facts, { code: 'unsupported', message: /cgroup v2 tree.*mount -t cgroup2/ })
})

t.test('a host without any cgroup tree is refused', async (t) => {
  const { roots } = host(t, { 'proc/self/mountinfo': '' })
  await t.rejects(readCgroups(roots), { code: 'unavailable' })
})

t.test('an old kernel is below the floor, 5.14 is not', async (t) => {
  for (const [release, fits] of [
    ['5.13.19', false],
    ['4.18.0-553.el8', false],
    ['5.14.0-503.el9', true],
    ['6.1-rc1', true]
  ] as const) {
    const { roots, stateDir } = host(t, { ...base, ...v2, 'proc/sys/kernel/osrelease': release })
    const facts = readHostFacts({ versions, roots }, { stateDir })
    if (fits) t.equal((await facts).kernel, release)
    else await t.rejects(facts, { code: 'unsupported', message: new RegExp(`5.14 or newer.*${release}`) })
  }
})

t.test('resources leave a part to the host', async (t) => {
  const { roots, stateDir } = host(t, { ...base, ...hybrid })
  const { resources } = await readHostFacts({ versions, roots }, { stateDir })
  t.equal(scalarOf(resources, 'cpus'), 6000)
  t.equal(scalarOf(resources, 'mem'), 15 * 1024 ** 3)
  t.ok(scalarOf(resources, 'disk') > 0)
  t.match(
    resources.find((r) => r.name === 'ports'),
    { ranges: [{ begin: 31_000, end: 32_000 }] }
  )
  t.equal(afterReserve(10, 4), 6)
  t.equal(afterReserve(7, 4), 3)
})

t.test('capabilities say how, or why not', async (t) => {
  const { roots, stateDir } = host(t, { ...base, ...hybrid })
  const { capabilities, attributes, hostname, bootId } = await readHostFacts({ versions, roots }, { stateDir })
  const of = (name: string) => capabilities.find((c) => c.name === name)
  t.same(of('runtime.runc'), { name: 'runtime.runc', present: true, detail: 'runc version 1.2.3' })
  t.same(of('runtime.crun'), { name: 'runtime.crun', present: false, detail: 'crun is not installed: apt-get install crun' })
  t.match(of('limit.memory'), { present: true, detail: /cgroup v1 \(hybrid host\)/ })
  t.match(of('seccomp.default'), { present: true, detail: /^the built-in profile/ })
  t.match(of('network.address'), { present: false })
  t.equal(new Set(capabilities.map((c) => c.name)).size, capabilities.length)
  t.equal(attributes.find((a) => a.name === 'os')?.text, 'Debian GNU/Linux 12 (bookworm)')
  t.equal(hostname, 'node-7')
  t.equal(bootId, '2e4f5c1a-0000-4000-8000-000000000001')
})

t.test('a missing controller is a missing capability, not an error', async (t) => {
  const { roots, stateDir } = host(t, { ...base, ...v2, 'sys/fs/cgroup/cgroup.controllers': 'cpu\n' })
  const { capabilities } = await readHostFacts({ versions, roots }, { stateDir })
  const of = (name: string) => capabilities.find((c) => c.name === name)
  t.match(of('limit.cpu'), { present: true, detail: /cgroup v2/ })
  t.match(of('limit.memory'), { present: false, detail: /no memory controller/ })
})

t.test('this very host can be read', async (t) => {
  const facts = await readHostFacts(
    { versions: askVersions(systemExec, { runc: 'runc', crun: 'crun', conmon: 'conmon' }, never), roots: systemRoots },
    { stateDir: t.testdir() }
  )
  t.ok(scalarOf(facts.resources, 'cpus') >= 1000)
  t.not(facts.cgroups.unified, undefined)
})

t.test('programs that are missing, broken or silent are told apart', async (t) => {
  const dir = t.testdir({
    good: '#!/bin/sh\necho "good 1.2"\necho more\n',
    broken: '#!/bin/sh\necho no library >&2\nexit 3\n'
  })
  for (const name of ['good', 'broken']) chmodSync(join(dir, name), 0o755)
  const programs = { runc: join(dir, 'good'), crun: 'no-such-program', conmon: join(dir, 'broken') }
  t.same(await askVersions(systemExec, programs, never), {
    runc: { version: 'good 1.2' },
    crun: { missing: 'no-such-program is not installed: apt-get install no-such-program' },
    conmon: { missing: `${join(dir, 'broken')} --version ended with 3: no library` }
  })
})
