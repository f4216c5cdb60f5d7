import fc from 'fast-check'
import t from 'tap'
import {
  judgeEventLoop,
  judgeLedger,
  judgeMaster,
  judgeRestarts,
  judgeSyncLatency
} from '../../../agent/node-health/checks/agent.ts'
import { judgeBudget } from '../../../agent/node-health/checks/budgets.ts'
import { judgeCertificates } from '../../../agent/node-health/checks/certificates.ts'
import {
  ClockWatch,
  judgeClockSteps,
  judgeClockSync,
  parseAdjtimex,
  parseChrony,
  parseTimedatectl
} from '../../../agent/node-health/checks/clock.ts'
import { type DiskFacts, judgeDisks } from '../../../agent/node-health/checks/disk.ts'
import { judgeEntropy } from '../../../agent/node-health/checks/entropy.ts'
import { judgeImages } from '../../../agent/node-health/checks/images.ts'
import { judgeKernel } from '../../../agent/node-health/checks/kernel.ts'
import { compareVersions } from '../../../agent/node-health/checks/known-bad.ts'
import { judgeMemory, parseMeminfo } from '../../../agent/node-health/checks/memory.ts'
import { judgeNameservers, judgeRoutes, parseDefaultRoutes, parseNameservers } from '../../../agent/node-health/checks/network.ts'
import { judgePressure, parsePressure } from '../../../agent/node-health/checks/pressure.ts'
import { judgeRuntimes, type RuntimeFacts } from '../../../agent/node-health/checks/runtimes.ts'
import { judgeUnits, parseUnits } from '../../../agent/node-health/checks/units.ts'
import { type Check, worstOf } from '../../../agent/node-health/verdict.ts'

const gibibyte = 1024 ** 3
const verdicts = (checks: readonly Check[]): readonly string[] =>
  checks.map((c) => `${c.kind}${c.subject === '' ? '' : ` ${c.subject}`} ${c.verdict}`)
const one = (check: Check): readonly [string, string] => [check.verdict, check.reason]

t.test('a verdict that is not OK says what to do', async (t) => {
  const disk = { path: '/d', totalBytes: 0, freeBytes: 0, totalInodes: 1, freeInodes: 0, readOnly: false }
  const bad: readonly Check[] = [
    ...judgeDisks([disk, { ...disk, readOnly: true }]),
    judgeMemory(undefined),
    ...judgePressure({ cpu: undefined, memory: undefined, io: undefined }),
    judgeClockSync(undefined),
    judgeEntropy(3),
    judgeBudget('conntrack', { used: 1, limit: 1 }),
    judgeRoutes([]),
    ...judgeNameservers([]),
    judgeLedger({ full: true, quarantined: 0 }),
    judgeMaster({ registered: false, sinceMs: 120_000 }),
    judgeEventLoop([3_000]),
    judgeImages({ damagedList: '/x', images: 0, looked: 0, parts: 0, faults: [] })
  ]
  for (const check of bad) {
    t.not(check.verdict, 'OK', check.kind)
    t.ok(check.reason.length > 3 && check.remedy.length > 3, `${check.kind}: ${check.reason} -> ${check.remedy}`)
  }
})

t.test('the worst verdict is the known failure, then the warning, then what nobody knows', async (t) => {
  const of = (...list: Check['verdict'][]) => worstOf(list.map((verdict) => ({ verdict })))
  t.equal(of(), 'OK')
  t.equal(of('OK', 'UNKNOWN'), 'UNKNOWN')
  t.equal(of('UNKNOWN', 'WARNING', 'OK'), 'WARNING')
  t.equal(of('UNKNOWN', 'FAILURE', 'WARNING'), 'FAILURE')
})

t.test('kernel and cgroups: an old kernel and a missing tree fail, a missing controller warns', async (t) => {
  const place = { version: 2 as const, mount: '/sys/fs/cgroup' }
  const all = { cpu: place, memory: place, pids: place }
  const v2 = { mode: 'v2' as const, unified: '/sys/fs/cgroup', controllers: all }
  t.same(verdicts(judgeKernel('6.1.0', v2)), ['kernel OK', 'cgroups OK'])
  t.same(verdicts(judgeKernel('5.10.0-8', v2)), ['kernel FAILURE', 'cgroups OK'])
  t.same(verdicts(judgeKernel('6.1.0', { ...v2, controllers: { cpu: place, pids: place } })), ['kernel OK', 'cgroups WARNING'])
  t.match(judgeKernel('6.1.0', { mode: 'v1', unified: undefined, controllers: all })[1], {
    verdict: 'FAILURE',
    remedy: /mount -t cgroup2/
  })
})

t.test('pressure: only memory fails, a busy processor never', async (t) => {
  const text = (n: number) => `some avg10=${n} avg60=${n} avg300=${n} total=17\nfull avg10=${n} avg60=${n} avg300=${n} total=5\n`
  const all = (n: number) => ({ cpu: parsePressure(text(n)), memory: parsePressure(text(n)), io: parsePressure(text(n)) })
  t.match(all(1.5).cpu, { some: { avg60: 1.5, totalUs: 17 }, full: { totalUs: 5 } })
  t.same(verdicts(judgePressure(all(0.1))), ['pressure.cpu OK', 'pressure.memory OK', 'pressure.io OK'])
  t.same(verdicts(judgePressure(all(12))), ['pressure.cpu OK', 'pressure.memory WARNING', 'pressure.io OK'])
  t.same(verdicts(judgePressure(all(99))), ['pressure.cpu WARNING', 'pressure.memory FAILURE', 'pressure.io WARNING'])
  t.match(judgePressure({ ...all(1), io: undefined })[2], { verdict: 'UNKNOWN', remedy: /psi=1/ })
})

t.test('disks: shares count on small ones, bytes on large ones, and read-only fails', async (t) => {
  const disk = (more: Partial<DiskFacts>): readonly Check[] =>
    judgeDisks([{ path: '/d', totalBytes: 100, freeBytes: 50, totalInodes: 0, freeInodes: 0, readOnly: false, ...more }])
  t.same(verdicts(disk({})), ['disk /d OK'])
  t.same(verdicts(disk({ freeBytes: 1 })), ['disk /d FAILURE'])
  t.same(verdicts(disk({ freeBytes: 5 })), ['disk /d WARNING'])
  t.same(verdicts(disk({ totalBytes: 10_000 * gibibyte, freeBytes: 100 * gibibyte })), ['disk /d OK'], '1 % of 10 TB is plenty')
  t.same(verdicts(disk({ readOnly: true })), ['disk /d FAILURE'])
  t.same(verdicts(disk({ totalInodes: 100_000, freeInodes: 10 })), ['disk /d OK', 'inodes /d FAILURE'])
  t.same(verdicts(disk({ totalInodes: 100_000, freeInodes: 9_000 })), ['disk /d OK', 'inodes /d WARNING'])
  t.match(disk({ totalBytes: 2 * gibibyte, freeBytes: 1024 ** 2 })[0], { reason: '1.0 MiB of 2.0 GiB free (0 %): full' })
})

t.test('memory is what can be had without swapping', async (t) => {
  const of = (available: number) =>
    judgeMemory(
      parseMeminfo(`MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: ${available} kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n`)
    )
  t.same(
    [of(500), of(70), of(10)].map((c) => c.verdict),
    ['OK', 'WARNING', 'FAILURE']
  )
  t.match(of(500).reason, /swap 6\.0 KiB of 10\.0 KiB/)
  t.equal(judgeMemory(parseMeminfo('nonsense')).verdict, 'UNKNOWN')
})

t.test('the clock: the first source that knows counts', async (t) => {
  const chrony = (last: string, offset: string) => parseChrony(`C0A80001,x,3,1795323776.4,${offset},0,0,0,0,0,0,0,16.1,${last}\n`)
  t.match(judgeClockSync(chrony('Normal', '0.0004')), { verdict: 'OK' })
  t.match(judgeClockSync(chrony('Normal', '-2.5')), { verdict: 'WARNING', reason: /off by -2\.5 s/ })
  t.match(judgeClockSync(chrony('Not synchronised', '0')), { verdict: 'WARNING' })
  t.match(judgeClockSync(parseTimedatectl('Timezone=UTC\nNTPSynchronized=yes\n')), { verdict: 'OK' })
  t.match(judgeClockSync(parseTimedatectl('NTPSynchronized=no\n')), { verdict: 'WARNING' })
  t.match(judgeClockSync(parseAdjtimex('    status:       64 (UNSYNC)\n')), { verdict: 'WARNING' })
  t.match(judgeClockSync(parseAdjtimex('    status:       8193 (PLL)\n')), { verdict: 'OK' })
  t.equal(parseChrony('506 Cannot talk to daemon'), undefined)
})

t.test('a step of the wall clock is seen, slewing is not, and an hour later it is forgotten', async (t) => {
  const watch = new ClockWatch()
  const year = 365 * 24 * 3_600_000
  for (let s = 0; s < 100; s += 1) watch.look(1e12 + s * 1_000.5, s * 1_000)
  t.same(watch.steps, [], 'half a millisecond a second')
  watch.look(1e12 + 100_000 + 2 * year, 100_000)
  watch.look(1e12 + 101_000, 101_000)
  t.equal(watch.total, 2)
  t.match(judgeClockSteps(watch.steps, 161_000), { verdict: 'WARNING', reason: /2 times.*backwards by 730 d 60 s ago/ })
  t.equal(judgeClockSteps(watch.steps, 102_000 + 3_600_000).verdict, 'OK')
})

t.test('budgets warn before they are used up', async (t) => {
  const at = (used: number) => judgeBudget('files', { used, limit: 100 }).verdict
  t.same([at(10), at(80), at(97)], ['OK', 'WARNING', 'FAILURE'])
  t.match(judgeBudget('conntrack', { absent: 'no module' }), { verdict: 'OK', reason: 'no module' })
  t.equal(judgeBudget('threads', { used: Number.NaN, limit: 5 }).verdict, 'UNKNOWN')
  t.equal(judgeBudget('inotifyWatches', { used: 100, limit: 100 }).verdict, 'WARNING', 'new watches fail, nothing else')
})

t.test('runtimes: known-bad versions are named, patched builds are known', async (t) => {
  const row = (program: RuntimeFacts['program'], text: string): RuntimeFacts => ({ program, said: { text } })
  const gone = (program: RuntimeFacts['program']): RuntimeFacts => ({ program, said: { failure: 'is not installed' } })
  const conmon = row('conmon', 'conmon version 2.1.12\ncommit: unknown\n')
  const runc = (version: string, commit = version) =>
    judgeRuntimes([conmon, row('runc', `runc version ${version}\ncommit: ${commit}\n`), gone('crun')])[1]
  t.match(runc('1.1.5+ds1', '1.1.5+ds1-1+deb12u1'), { verdict: 'OK', reason: /^version 1\.1\.5; ignores the idmap option/ })
  t.match(runc('1.1.5'), { verdict: 'WARNING', reason: /CVE-2024-21626/, remedy: /1\.1\.12 or newer/ })
  t.match(runc('1.2.0'), { verdict: 'OK', reason: 'version 1.2.0' })
  t.match(runc('what'), { verdict: 'UNKNOWN' })
  t.same(verdicts(judgeRuntimes([conmon, gone('runc'), row('crun', 'crun version 1.14\n')])), [
    'runtimes conmon OK',
    'runtimes runc OK',
    'runtimes crun OK'
  ])
  t.same(verdicts(judgeRuntimes([gone('conmon'), gone('runc'), gone('crun')])), [
    'runtimes conmon FAILURE',
    'runtimes runc FAILURE',
    'runtimes crun FAILURE'
  ])
  t.same([compareVersions('1.1.9', '1.1.12'), compareVersions('1.2', '1.2.0'), compareVersions('2', '1.9.9')], [-1, 0, 1])
})

t.test('images: a damaged list fails, damaged parts warn', async (t) => {
  const facts = { damagedList: undefined, images: 2, looked: 7, parts: 7, faults: [] }
  t.same(one(judgeImages(facts)), ['OK', '2 images, all there'])
  t.match(judgeImages({ ...facts, looked: 5 }).reason, /5 of their 7/)
  t.match(judgeImages({ ...facts, faults: ['image a: layer 12 is missing', 'b', 'c'] }), {
    verdict: 'WARNING',
    reason: /\(and 2 more\)/
  })
  t.equal(judgeImages({ ...facts, damagedList: '/s/images.json.damaged' }).verdict, 'FAILURE')
})

t.test('routes and name servers', async (t) => {
  const route =
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n'
  const local = 'eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n'
  const route6 = `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 fe80 00000400 00000001 00000000 00000003     eth2\n${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 0 ffffffff 1 0 00200200 lo\n`
  t.same(parseDefaultRoutes(route + local, route6), ['eth0', 'eth2'])
  t.same(parseDefaultRoutes(local, ''), [])
  t.equal(judgeRoutes([]).verdict, 'WARNING')
  t.same(parseNameservers('# nameserver 9.9.9.9\nnameserver 127.0.0.53\n nameserver ::1\nnameserver 1\nnameserver 2\n'), [
    '127.0.0.53',
    '::1',
    '1'
  ])
  const good = { address: 'a', outcome: { answeredMs: 3 } }
  const bad = { address: 'b', outcome: { failure: 'no answer', lives: false } }
  t.same(verdicts(judgeNameservers([good, bad])), ['network.dns a OK', 'network.dns b WARNING'])
  t.same(verdicts(judgeNameservers([bad])), ['network.dns b FAILURE'])
  t.same(verdicts(judgeNameservers([{ address: 'c', outcome: { failure: 'refused', lives: true } }])), ['network.dns c WARNING'])
  t.same(verdicts(judgeNameservers([])), ['network.dns WARNING'])
})

t.test('units: what failed warns, what is not installed is left out', async (t) => {
  const text =
    'Id=hearth-agent.service\nLoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=2\n\n' +
    'Id=hearth-master.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nNRestarts=0\n\n' +
    'Id=hearth-workloads.slice\nLoadState=loaded\nActiveState=failed\nSubState=failed\n'
  const rows = judgeUnits(parseUnits(text))
  t.same(verdicts(rows), ['units hearth-agent.service OK', 'units hearth-workloads.slice WARNING'])
  t.match(rows[0]?.reason, /restarted 2 times/)
  t.match(judgeUnits('not-systemd')[0]?.reason, /not under systemd/)
})

t.test('certificates end, begin, and are none today', async (t) => {
  const day = 86_400_000
  const of = (fromMs: number, untilMs: number) => judgeCertificates([{ path: '/c', validity: { fromMs, untilMs } }], 100 * day)
  t.match(judgeCertificates([], 0)[0], { verdict: 'OK', reason: /needs none/ })
  t.same(
    [of(0, 200 * day), of(0, 105 * day), of(0, 99 * day), of(101 * day, 200 * day)].flat().map((c) => c.verdict),
    ['OK', 'WARNING', 'FAILURE', 'FAILURE']
  )
})

t.test('the agent itself: its loop, its restarts, its disk', async (t) => {
  t.equal(judgeEventLoop([]).verdict, 'OK')
  t.equal(judgeEventLoop([1, 2, 1_500]).verdict, 'WARNING')
  t.equal(judgeEventLoop([2_500, 2_500, 1]).verdict, 'FAILURE')
  const now = 10_000_000
  t.match(judgeRestarts([now - 60_000], now), { verdict: 'OK', reason: '0 restarts since boot, runs for 60 s' })
  t.match(judgeRestarts([now - 4_000, now - 3_000, now - 2_000, now - 1_000], now), { verdict: 'WARNING', reason: /3 times/ })
  t.equal(judgeRestarts([1, 2, 3, 4, 5, now], now).verdict, 'OK', 'long ago')
  t.equal(judgeSyncLatency([], 600_000).verdict, 'OK')
  t.equal(judgeSyncLatency([2, 3, 4], 600_000).verdict, 'OK')
  t.equal(judgeSyncLatency([2, 300, 400], 600_000).verdict, 'WARNING')
  t.equal(judgeSyncLatency([6_000, 7_000, 8_000], 600_000).verdict, 'FAILURE')
  t.equal(judgeLedger({ full: false, quarantined: 1 }).verdict, 'WARNING')
  t.equal(judgeMaster({ registered: false, sinceMs: 1_000 }).verdict, 'OK')
})

t.test('no text of a kernel or a program can break a parser', async (t) => {
  const parsers: readonly ((text: string) => unknown)[] = [
    parsePressure,
    parseMeminfo,
    parseChrony,
    parseTimedatectl,
    parseAdjtimex,
    parseUnits,
    parseNameservers,
    (text) => parseDefaultRoutes(text, text),
    (text) => judgeRuntimes([{ program: 'runc', said: { text } }])
  ]
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), fc.constantFrom(...parsers), (text, parse) => void parse(text)),
    { numRuns: 2_000 }
  )
  t.pass('nothing broke')
})
