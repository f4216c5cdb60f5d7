import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { KernelLog } from '../../../agent/recorder/kernel-log.ts'
import { type EndedAttempt, FlightRecorder, recordName } from '../../../agent/recorder/recorder.ts'
import { RecorderRing } from '../../../agent/recorder/ring.ts'
import { SignalTrace } from '../../../agent/recorder/signal-trace.ts'
import { systemClock } from '../../../base/clock.ts'

const id = 'a'.repeat(32)
const other = 'b'.repeat(32)

t.test('the ring keeps the newest lines in two files of bounded size, through any number of restarts', async (t) => {
  const path = join(t.testdir({}), 'recorder')
  let ring = new RecorderRing(path)
  for (let n = 0; n < 6_000; n += 1) {
    if (n % 1_000 === 0) ring = new RecorderRing(path) // a kill -9 loses nothing: there is nothing but the files
    ring.write({ n, text: 'x'.repeat(60) })
  }
  for (const name of [path, `${path}.1`]) t.ok(statSync(name).size <= 128 * 1024)
  const rows = ring
    .tail(10_000)
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { n: number }).n)
  t.equal(rows.at(-1), 5_999)
  t.same(
    rows,
    Array.from({ length: rows.length }, (_, i) => 6_000 - rows.length + i),
    'whole lines, in order'
  )
  ring.write({ text: 'y'.repeat(10_000) })
  t.equal(JSON.parse(ring.tail(1_000).trimEnd().split('\n').at(-1) ?? '').n, 5_999, 'a line that is too long is left out')
})

function recorderIn(directory: string) {
  const ring = new RecorderRing(join(directory, 'run/recorder'))
  const layout = { mode: 'v2', unified: join(directory, 'cgroup'), classic: new Map() } as const
  const parts = {
    ring,
    kernelLog: new KernelLog(join(directory, 'none')),
    signals: new SignalTrace('none'),
    layout,
    clock: systemClock
  }
  return new FlightRecorder({ ...parts, running: () => [id] }, { cgroupParent: '/p', sampleMs: 10 })
}

const ended = (directory: string, state: 'failed' | 'finished'): EndedAttempt => ({
  containerId: id,
  taskId: 'task',
  attempt: 1,
  pid: 5,
  sandboxDir: join(directory, 'sandbox'),
  logPath: join(directory, 'sandbox/log'),
  memoryLimitBytes: 0,
  ending: { state, reason: 'exited', message: '', exitCode: state === 'failed' ? 3 : 0 }
})

t.test('a failure has its record beside its log, without what concerns others; a success has none', async (t) => {
  const directory = t.testdir({ sandbox: { log: '2026-11-22T02:00:00.000000000+00:00 stdout F last words\n' } })
  const recorder = recorderIn(directory)
  t.same(recorder.causesOf(ended(directory, 'finished')), [])
  t.same(readdirSync(join(directory, 'sandbox')), ['log'])
  recorder.note('probe.failed', { containerId: id })
  recorder.note('probe.failed', { containerId: other })
  recorder.note('node.pressure', { cpuPressure: 50 })
  t.match(recorder.causesOf(ended(directory, 'failed')), [{ kind: 'exit_code', evidence: ['last line: last words'] }])
  const rows = readFileSync(join(directory, 'sandbox', recordName), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(rows, [
    { event: 'probe.failed' },
    { event: 'node.pressure' },
    { event: 'task.ended', cause: 'exit_code', containerId: id }
  ])
  t.equal(rows.length, 3)
})

t.test('a container that hits its limits is noted, one that does not leaves nothing', async (t) => {
  const directory = t.testdir({})
  const cgroup = join(directory, 'cgroup/p', id)
  mkdirSync(cgroup, { recursive: true })
  writeFileSync(join(cgroup, 'memory.events'), 'low 0\nmax 0\noom_kill 0\n')
  const recorder = recorderIn(directory)
  await recorder.start()
  const seen = (): string => {
    try {
      return readFileSync(join(directory, 'run/recorder'), 'utf8')
    } catch {
      return ''
    }
  }
  t.notMatch(seen(), /container.pressed/)
  writeFileSync(join(cgroup, 'memory.events'), 'low 0\nmax 7\noom_kill 1\n')
  while (!seen().includes('container.pressed')) await systemClock.sleep(5, new AbortController().signal)
  await recorder.stop()
  t.match(seen(), /"containerId":"a+","oomKills":1,"memoryMax":7/)
})

t.test('the kernel’s log is read to its end and no further', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const log = new KernelLog()
  t.same(log.poll(), { events: [], more: false }, 'before it is open')
  log.open()
  while (log.poll().more);
  t.equal(log.poll().more, false, 'no read waits for the next record')
  log.close()
})
