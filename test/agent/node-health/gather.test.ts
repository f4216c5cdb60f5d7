import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { AgentStarts, parseStarts } from '../../../agent/node-health/agent-starts.ts'
import { readCertificates } from '../../../agent/node-health/gather/certificate-facts.ts'
import { checksParent } from '../../../agent/node-health/gather/check-cgroups.ts'
import { readDisks } from '../../../agent/node-health/gather/disk-facts.ts'
import { readImageStore } from '../../../agent/node-health/gather/image-facts.ts'
import { readInotify } from '../../../agent/node-health/gather/inotify-facts.ts'
import {
  readConntrack,
  readOpenFiles,
  readPressure,
  readProcessFiles,
  readThreads
} from '../../../agent/node-health/gather/kernel-facts.ts'
import { askNameservers } from '../../../agent/node-health/gather/network-facts.ts'
import { runOwnChecks } from '../../../agent/node-health/gather/own-checks.ts'
import { readClockSync, readRuntimes, readUnits } from '../../../agent/node-health/gather/program-facts.ts'
import { type NodeRoots, nodeRoots } from '../../../agent/node-health/gather/roots.ts'
import { readOwnCheck } from '../../../agent/node-health/own-check-answer.ts'
import { checksOf } from '../../../agent/node-health/thorough-child.ts'
import { systemClock } from '../../../base/clock.ts'
import type { Exec } from '../../../base/exec.ts'
import { Fault, isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { cgroupDirectories, readCgroupLayout } from '../../../isolators/cgroup2/layout.ts'
import { programCgroup } from '../../../isolators/cgroup2/program-cgroup.ts'
import { removeEmpty } from '../../../isolators/cgroup2/tree.ts'
import { readProcess } from '../../../isolators/runtime/oci/process-table.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { until } from '../../support/until.ts'

const never = new AbortController().signal
/** Of certificate.pem. */
const certificateTimes = { fromMs: Date.parse('Nov 22 05:47:14 2026 GMT'), untilMs: Date.parse('Oct 29 05:47:14 2126 GMT') }

function host(t: Test, files: Readonly<Record<string, string>>): { readonly dir: string; readonly roots: NodeRoots } {
  const dir = t.testdir()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  const at = (name: string): string => join(dir, name)
  return { dir, roots: { proc: at('proc'), sys: at('sys'), etc: at('etc'), run: at('run') } }
}

const execOf = (answers: Readonly<Record<string, string>>): Exec => ({
  async run(program) {
    const stdout = answers[program]
    if (stdout === undefined) throw new Fault('unavailable', `${program} is not installed`)
    return { code: 0, stdout, stderr: '' }
  }
})

t.test('budgets and pressure come from the kernel’s small files', async (t) => {
  const { roots } = host(t, {
    'proc/sys/fs/file-nr': '1275\t0\t2466170\n',
    'proc/loadavg': '0.10 0.20 0.30 2/345 999\n',
    'proc/sys/kernel/pid_max': '32768\n',
    'proc/sys/kernel/threads-max': '1000\n',
    'proc/self/limits':
      'Limit  Soft Limit Hard Limit Units\nMax open files            1024                 4096                 files\n',
    'proc/self/fd/0': '',
    'proc/self/fd/1': '',
    'proc/pressure/memory': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n'
  })
  t.same(await readOpenFiles(roots), { used: 1275, limit: 2466170 })
  t.same(await readThreads(roots), { used: 345, limit: 1000 })
  t.same(await readProcessFiles(roots, 'self'), { used: 2, limit: 1024 })
  t.match(await readConntrack(roots), { absent: /nf_conntrack/ })
  t.match(await readPressure(roots), { cpu: undefined, memory: { some: { totalUs: 9 } } })
})

t.test('this very kernel tells all of it', async (t) => {
  t.ok((await readOpenFiles(nodeRoots)).used > 0)
  t.ok((await readThreads(nodeRoots)).used > 0)
  const { instances, watches } = await readInotify(nodeRoots)
  t.ok(Number.isInteger(instances.used) && Number.isInteger(watches.used) && instances.limit > 0)
  const disks = await readDisks(nodeRoots, [t.testdir(), import.meta.dirname, '/no/such/folder'])
  t.equal(disks.length, 1, 'folders of one file system count once')
  t.ok((disks[0]?.freeBytes ?? 0) > 0)
})

t.test('a read-only mount is told by mountinfo, spaces in its name included', async (t) => {
  const { dir, roots } = host(t, { 'a b/file': '' })
  const folder = join(dir, 'a b')
  const line = (options: string, superOptions: string): string =>
    `22 1 8:1 / / rw - ext4 /dev/vda rw\n23 22 8:2 / ${folder.replace(' ', '\\040')} ${options} shared:1 - ext4 /dev/vdb ${superOptions}\n`
  const look = async (text: string) => {
    mkdirSync(join(roots.proc, 'self'), { recursive: true })
    writeFileSync(join(roots.proc, 'self/mountinfo'), text)
    return (await readDisks(roots, [folder]))[0]?.readOnly
  }
  t.equal(await look(line('rw,relatime', 'rw')), false)
  t.equal(await look(line('ro,relatime', 'rw')), true)
  t.equal(await look(line('rw,relatime', 'ro,errors=remount-ro')), true)
})

t.test('programs are asked in turn, and one that is not there tells nothing', async (t) => {
  const { roots, dir } = host(t, {})
  const sync = (answers: Readonly<Record<string, string>>) => readClockSync({ exec: execOf(answers), roots }, never)
  t.equal(await sync({}), undefined)
  t.match(await sync({ busybox: '    status:  64 (UNSYNC)\n' }), { source: 'adjtimex', synchronised: false })
  t.match(await sync({ timedatectl: 'NTPSynchronized=yes\n' }), undefined, 'without systemd nobody asks it')
  t.equal(await readUnits({ exec: execOf({}), roots }, never), 'not-systemd')
  mkdirSync(join(dir, 'run/systemd/system'), { recursive: true })
  t.match(await sync({ timedatectl: 'NTPSynchronized=yes\n', busybox: '' }), { source: 'timedatectl' })
  t.match(await readUnits({ exec: execOf({ systemctl: 'Id=hearth-agent.service\nLoadState=loaded\n' }), roots }, never), [
    { name: 'hearth-agent.service' }
  ])
  const programs = { conmon: '/c', runc: '/r', crun: '/u' }
  t.match(await readRuntimes(execOf({ '/c': 'conmon version 2.1.6' }), programs, never), [
    { program: 'conmon', said: { text: /2\.1\.6/ } },
    { program: 'runc', said: { failure: /not installed/ } },
    { program: 'crun' }
  ])
})

t.test('name servers are asked: answers, silence, nonsense and a closed port are told apart', async (t) => {
  let answer: (question: Buffer) => Buffer | undefined = () => undefined
  let asked = 0
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (question) => {
      asked += 1
      const bytes = answer(question)
      if (bytes !== undefined) socket.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { roots } = host(t, { 'etc/resolv.conf': 'nameserver 127.0.0.1\n' })
  const { port } = server.address() as { readonly port: number }
  const outcome = async () => (await askNameservers(roots, never, port))[0]?.outcome
  answer = (question) => {
    const bytes = Buffer.from(question)
    bytes[4] = 0x80
    bytes[5] = 5 // to be refused is an answer too
    return bytes
  }
  t.match(await outcome(), { answeredMs: Number })
  answer = () => Buffer.from('HTTP/1.1 400')
  t.match(await outcome(), { failure: 'answered what is no DNS', lives: true })
  answer = () => undefined
  const before = asked
  const impatient = new AbortController()
  const asking = askNameservers(roots, impatient.signal, port)
  await until(() => asked > before)
  impatient.abort()
  t.match(await asking, [{ outcome: { failure: /stopped/, lives: false } }])
  t.match(await askNameservers(roots, never, 1), [{ outcome: { failure: /ECONNREFUSED/, lives: true } }])
})

t.test('the image store: documents by digest, layers by folder, anything in the list', async (t) => {
  const { dir } = host(t, {})
  const blob = Buffer.from('{}')
  const hex = createHash('sha256').update(blob).digest('hex')
  const layer = 'a'.repeat(64)
  const list = (row: object) => writeFileSync(join(dir, 'images.json'), JSON.stringify({ version: 1, images: [row] }))
  const image = { name: 'x', digest: `sha256:${hex}`, configDigest: `sha256:${hex}`, layers: [{ diffId: `sha256:${layer}` }] }
  t.match(await readImageStore(dir, 0), { images: 0, faults: [] })
  list(image)
  t.match(await readImageStore(dir, 0), {
    images: 1,
    parts: 2,
    faults: [/document .* is missing/, /layer aaaaaaaaaaaa is missing/]
  })
  mkdirSync(join(dir, 'blobs/sha256'), { recursive: true })
  mkdirSync(join(dir, 'layers', layer), { recursive: true })
  writeFileSync(join(dir, 'blobs/sha256', hex), blob)
  t.match(await readImageStore(dir, 7), { looked: 2, faults: [] })
  writeFileSync(join(dir, 'blobs/sha256', hex), 'other')
  t.match(await readImageStore(dir, 0), { faults: [/is not what it was/] })
  list({ ...image, digest: '../../etc/passwd' })
  t.match(await readImageStore(dir, 0), { faults: [/names a digest that is none/, String] })
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.json(), fc.string({ unit: 'binary' })), async (text) => {
      writeFileSync(join(dir, 'images.json'), text)
      await readImageStore(dir, 1)
    }),
    { numRuns: fuzzRuns(200) }
  )
})

t.test('a certificate is read, other bytes are told', async (t) => {
  const { dir } = host(t, { none: 'no certificate' })
  const [none, missing] = await readCertificates([join(dir, 'none'), join(dir, 'missing')])
  t.match(none, { validity: { failure: /cannot be read/ } })
  t.match(missing, { validity: { failure: /ENOENT/ } })
  const fixture = join(import.meta.dirname, 'certificate.pem')
  t.same((await readCertificates([fixture]))[0]?.validity, certificateTimes)
})

const place = { layout: readCgroupLayout(), cgroupParent: `/hearth-test-${randomBytes(4).toString('hex')}` }
const checkCgroups = (): readonly string[] =>
  cgroupDirectories(place.layout, join(place.cgroupParent, 'checks')).filter((directory) => existsSync(directory))

t.teardown(() => removeEmpty(cgroupDirectories(place.layout, place.cgroupParent)))

function ownChecks(t: Test, programs: Readonly<Record<string, string>>): string {
  const { dir } = host(t, programs)
  for (const name of Object.keys(programs)) chmodSync(join(dir, name), 0o755)
  chmodSync(dir, 0o755)
  return dir
}

t.test('own checks: the exit code is the verdict, the first line the reason, the second what to do', async (t) => {
  const directory = ownChecks(t, {
    good: '#!/bin/sh\necho all fine\n',
    warns: '#!/bin/sh\nprintf "\\033[31mslow\\007 disk\\nbuy a faster one\\nmore\\n"\nexit 1\n',
    fails: '#!/bin/sh\nexit 2\n',
    unsure: '#!/bin/sh\necho who knows\nexit 3\n',
    strange: '#!/bin/sh\nexit 42\n',
    shot: '#!/bin/sh\nkill -9 $$\n',
    noise: '#!/bin/sh\nhead -c 100000 /dev/urandom\nexit 1\n',
    broken: '#!/no/such/interpreter\n',
    'left.bak': '#!/bin/sh\nexit 2\n'
  })
  writeFileSync(join(directory, 'README'), 'no program')
  const rows = await runOwnChecks({ directory, timeoutMs: 20_000, place }, never)
  const of = (name: string) => rows.find((row) => row.subject === name)
  t.same(
    rows.map((row) => row.subject),
    ['broken', 'fails', 'good', 'noise', 'shot', 'strange', 'unsure', 'warns']
  )
  t.match(of('good'), { kind: 'own', verdict: 'OK', reason: 'all fine', remedy: '' })
  t.match(of('warns'), { verdict: 'WARNING', reason: 'slow disk', remedy: 'buy a faster one' })
  t.match(of('fails'), { verdict: 'FAILURE', reason: 'says nothing' })
  t.match(of('unsure'), { verdict: 'UNKNOWN', reason: 'who knows' })
  t.match(of('strange'), { verdict: 'UNKNOWN', reason: /exit code 42/ })
  t.match(of('shot'), { verdict: 'UNKNOWN', reason: /SIGKILL/ })
  t.equal(of('noise')?.verdict, 'WARNING')
  t.match(of('broken'), { verdict: 'UNKNOWN', reason: /cannot be run/ })
  t.same(await runOwnChecks({ directory: join(directory, 'none'), timeoutMs: 1, place }, never), [])
})

t.test('a check that hangs is killed with all it started, and holds up no other', async (t) => {
  const directory = ownChecks(t, {
    hangs: '#!/bin/sh\nsleep 1000 & echo $! > "$(dirname "$0")/pid"\nwait\n',
    quick: '#!/bin/sh\necho here\n',
    leaves: '#!/bin/sh\nsleep 1000 & echo $! > "$(dirname "$0")/left"\necho done\n',
    strays: '#!/bin/sh\nsetsid sleep 1000 & echo $! > "$(dirname "$0")/strayed"\necho gone\n'
  })
  const rows = await runOwnChecks({ directory, timeoutMs: 2_000, place }, never)
  t.match(rows, [
    { subject: 'hangs', verdict: 'UNKNOWN', reason: 'did not end within 2000 ms and was killed' },
    { subject: 'leaves', verdict: 'OK', reason: 'done' },
    { subject: 'quick', verdict: 'OK' },
    { subject: 'strays', verdict: 'OK', reason: 'gone' }
  ])
  for (const file of ['pid', 'left', 'strayed']) {
    const pid = readFileSync(join(directory, file), 'utf8').trim()
    await until(() => !existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
  }
  t.same(checkCgroups(), [], 'nothing is left of them')
})

t.test('checks are never in the containers’ scope', async (t) => {
  const scope = '/hearth.slice/hearth-workloads.slice/hearth-containers.scope'
  const leaf = '0::/system.slice/hearth-agent.service/agent\n'
  t.equal(checksParent('v2', scope, leaf), '/system.slice/hearth-agent.service')
  t.equal(checksParent('v2', scope, '0::/user.slice/user-0.slice/session-1.scope\n'), '/hearth-checks')
  t.equal(checksParent('v2', '/hearth-1', '0::/\n'), '/hearth-1')
  t.equal(checksParent('v2', '/hearth-1', '0::/home/agent\n'), '/hearth-1')
  t.equal(checksParent('hybrid', '/hearth-1', `3:pids:/x\n${leaf}`), '/hearth-1')
})

t.test('a check has little memory and few processes, whatever it starts', async (t) => {
  const directory = ownChecks(t, {
    forks: '#!/bin/sh\ni=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done\necho all of them\n',
    hoards: '#!/bin/sh\nhead -c 400000000 /dev/zero | tail -c 400000000 > /dev/null\nexit $?\n'
  })
  const rows = await runOwnChecks({ directory, timeoutMs: 30_000, place }, never)
  t.match(rows, [
    { subject: 'forks', verdict: 'FAILURE' },
    { subject: 'hoards', verdict: 'UNKNOWN', reason: 'ended by SIGKILL: it needs more than 256 MiB' }
  ])
  t.same(checkCgroups(), [])
})

t.test('what a round left that was killed is ended by the next one, and what another runs is not', async (t) => {
  const limits = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 8 }
  const sleeper = async (name: string): Promise<ChildProcess> => {
    const cgroup = await programCgroup(place.layout, join(place.cgroupParent, 'checks', name), limits)
    const [program = '', ...words] = cgroup.enter(['/bin/sh', '-c', 'echo in; exec sleep 1000'])
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'ignore'] })
    t.teardown(async () => {
      child.kill('SIGKILL')
      await cgroup.remove()
    })
    await once(child.stdout, 'data')
    return child
  }
  const self = readProcess(process.pid)
  const [left, living] = [await sleeper('1-7-1'), await sleeper(`${process.pid}-${self?.startTicks}-900`)]
  await runOwnChecks({ directory: ownChecks(t, {}), timeoutMs: 5_000, place }, never)
  await until(() => left.signalCode === 'SIGKILL')
  t.equal(living.exitCode, null)
  t.equal(living.signalCode, null)
})

t.test('a file that others can write is not run as root', async (t) => {
  const directory = ownChecks(t, { open: '#!/bin/sh\ntouch "$(dirname "$0")/ran"\n' })
  chmodSync(join(directory, 'open'), 0o777)
  t.match(await runOwnChecks({ directory, timeoutMs: 5_000, place }, never), [
    { verdict: 'UNKNOWN', reason: /written by others/ }
  ])
  chmodSync(join(directory, 'open'), 0o755)
  chmodSync(directory, 0o777)
  t.match(await runOwnChecks({ directory, timeoutMs: 5_000, place }, never), [
    { verdict: 'UNKNOWN', reason: /written by others/ }
  ])
  t.notOk(existsSync(join(directory, 'ran')))
})

t.test('any bytes of a check make one short line of text', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 5_000 }),
      fc.integer({ min: 0, max: 255 }),
      fc.string({ unit: 'binary' }),
      (output, code, name) => {
        const row = readOwnCheck(name, { kind: 'exited', code, output })
        for (const text of [row.subject, row.reason, row.remedy]) {
          if (/[\p{Cc}\p{Cf}\n]/u.test(text) || [...text].length > 240) throw new Error(JSON.stringify(row))
        }
      }
    ),
    { numRuns: fuzzRuns(1_000) }
  )
  t.pass('nothing broke')
})

t.test('any answer of the health program is rows or a Fault', async (t) => {
  const odd = fc.record({
    checks: fc.array(
      fc.record({
        kind: fc.anything(),
        verdict: fc.constantFrom('OK', 'x'),
        subject: fc.string(),
        reason: fc.string(),
        remedy: fc.string()
      })
    )
  })
  fc.assert(
    fc.property(fc.oneof(fc.anything(), odd), (answer) => {
      try {
        for (const { kind, verdict } of checksOf(answer))
          if (typeof kind !== 'string' || verdict !== 'OK') throw new Error('no row')
      } catch (e) {
        if (!isFault(e, 'corrupt')) throw e
      }
    }),
    { numRuns: fuzzRuns(1_000) }
  )
  t.pass('nothing broke')
})

t.test('the starts of this boot are kept, whatever the file holds', async (t) => {
  const runDir = t.testdir()
  const start = async (bootId: string) => {
    const starts = new AgentStarts({ clock: systemClock, log: silentLog }, { runDir, bootId })
    await starts.start()
    await starts.stop()
    return starts.allMs.length
  }
  t.same([await start('a'), await start('a'), await start('b')], [1, 2, 1])
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => Array.isArray(parseStarts(text, 'a'))))
  const gone = new AgentStarts({ clock: systemClock, log: silentLog }, { runDir: '/no/such', bootId: 'a' })
  await gone.start()
  await gone.stop()
  t.equal(gone.allMs.length, 1, 'a history that cannot be written costs nothing')
})
