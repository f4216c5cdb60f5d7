import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { identityOf, isAlive } from '../../cli/process-identity.ts'
import { capLog } from '../../cli/supervise-main.ts'
import { type DaemonPlan, type DaemonState, restartPauseMs, Supervisor } from '../../cli/supervisor.ts'

async function folderFor(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-supervisor-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

const planOf = (name: string, folder: string, script: string): DaemonPlan => ({
  name,
  program: process.execPath,
  arguments: ['-e', script],
  env: { PATH: process.env['PATH'] ?? '' },
  logFile: join(folder, `${name}.log`)
})

/** Follows the reports until one fits. */
class Reports {
  latest: readonly DaemonState[] = []
  #waiting: (() => void)[] = []

  readonly take = (states: readonly DaemonState[]): void => {
    this.latest = states
    for (const wake of this.#waiting.splice(0)) wake()
  }

  async until(fits: (states: readonly DaemonState[]) => boolean): Promise<void> {
    while (!fits(this.latest)) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
}

/** Pauses cost nothing and are written down; monotonic time moves by `ranMs` between two looks at it. */
function noting(pauses: number[], ranMs: number): Clock {
  let now = 0
  return {
    wallMs: () => 0,
    monotonicMs: () => {
      now += ranMs
      return now
    },
    sleep: async (ms, signal) => {
      if (ms < 20_000) pauses.push(ms)
      else await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true }))
    }
  }
}

t.test('pauses double from 0.2 s to 10 s', async (t) => {
  t.strictSame([1, 2, 3, 4, 5, 6, 7, 8, 100].map(restartPauseMs), [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000])
})

t.test('a daemon that crashes is started again after growing pauses', async (t) => {
  const folder = await folderFor(t)
  const pauses: number[] = []
  const reports = new Reports()
  const plan = planOf('crasher', folder, "console.log('here'); process.exit(3)")
  const supervisor = new Supervisor({ clock: noting(pauses, 1000), log: silentLog, report: reports.take }, [plan])
  supervisor.start()
  await reports.until(([s]) => (s?.restarts ?? 0) >= 3)
  const lastExit = reports.latest[0]?.lastExit
  await supervisor.stop()
  t.strictSame(pauses.slice(0, 3), [200, 400, 800])
  t.equal(lastExit, 'exit code 3')
  t.ok(readFileSync(plan.logFile, 'utf8').startsWith('here\nhere\nhere\n'), 'its output of every run is in its log')
})

t.test('a daemon that ran for a minute starts anew with the shortest pause', async (t) => {
  const folder = await folderFor(t)
  const pauses: number[] = []
  const reports = new Reports()
  const clock = noting(pauses, 60_000)
  const supervisor = new Supervisor({ clock, log: silentLog, report: reports.take }, [planOf('old', folder, 'process.exit(1)')])
  supervisor.start()
  await reports.until(([s]) => (s?.restarts ?? 0) >= 3)
  await supervisor.stop()
  t.strictSame(pauses.slice(0, 3), [200, 200, 200])
})

t.test('a program that is not there is a crash too', async (t) => {
  const folder = await folderFor(t)
  const reports = new Reports()
  const plan = { ...planOf('none', folder, ''), program: '/nonexistent/program' }
  const supervisor = new Supervisor({ clock: noting([], 1), log: silentLog, report: reports.take }, [plan])
  supervisor.start()
  await reports.until(([s]) => (s?.restarts ?? 0) >= 1)
  await supervisor.stop()
  t.match(reports.latest[0]?.lastExit, /could not be started: .*ENOENT/)
})

t.test('stopping ends the daemons in reverse order and leaves no process', async (t) => {
  const folder = await folderFor(t)
  const reports = new Reports()
  const order = join(folder, 'order')
  const script = (name: string): string => `
    process.on('SIGTERM', () => { require('fs').appendFileSync(${JSON.stringify(order)}, '${name} '); process.exit(0) })
    require('fs').writeFileSync(${JSON.stringify(folder)} + '/${name}.up', ''); setInterval(() => {}, 1e6)`
  const plans = ['first', 'second'].map((name) => planOf(name, folder, script(name)))
  const supervisor = new Supervisor({ clock: systemClock, log: silentLog, report: reports.take }, plans)
  supervisor.start()
  await reports.until((states) => states.length === 2 && states.every((s) => s.process !== null))
  const processes = reports.latest.map((s) => s.process)
  while (!['first', 'second'].every((name) => existsSync(join(folder, `${name}.up`)))) await new Promise((r) => setImmediate(r))
  await supervisor.stop()
  t.equal(readFileSync(order, 'utf8'), 'second first ')
  for (const process of processes) t.notOk(process !== null && isAlive(process))
})

t.test('an identity is one process, not a number', async (t) => {
  const self = identityOf(process.pid)
  t.ok(self !== undefined && isAlive(self))
  t.notOk(self !== undefined && isAlive({ ...self, startTicks: self.startTicks - 1 }), 'another process had the number before')
  t.notOk(self !== undefined && isAlive({ ...self, bootId: 'another' }), 'or had it before the reboot')
  t.equal(identityOf(0x7fff_fff0), undefined)
})

t.test('a log over its limit is emptied in place and kept once', async (t) => {
  const path = join(await folderFor(t), 'a.log')
  capLog(path, 10)
  t.notOk(existsSync(path), 'a log that is not there yet is no mistake')
  writeFileSync(path, '0123456789')
  capLog(path, 10)
  t.notOk(existsSync(`${path}.1`))
  writeFileSync(path, '0123456789x')
  capLog(path, 10)
  t.equal(readFileSync(path, 'utf8'), '')
  t.equal(readFileSync(`${path}.1`, 'utf8'), '0123456789x')
})
