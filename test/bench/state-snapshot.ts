import { fork } from 'node:child_process'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { masterHeap } from '../../cli/supervise-main.ts'
import type { Bench, Outcome } from './bench.ts'
import { end } from './programs.ts'
import { judged } from './report.ts'
import { rounds, type SnapshotFigures, type SnapshotOrder, tasksAgents } from './snapshot-order.ts'
import { rounded, spreadOf } from './statistics.ts'

/**
 * How long the event loop of a master stands still while it takes a snapshot of so many tasks, and while it takes over one that
 * another master sent: each is some 70 MB for 100,000.
 */
export async function stateSnapshot(bench: Bench): Promise<Outcome> {
  bench.progress(`${rounds} snapshots`)
  const { tookMs, taken, arrived, p999Ms } = await figuresOf(bench, { tasks: bench.n, directory: bench.folder('state') })
  const noted = ({ longestMs, ...spread }: SnapshotFigures['taken']) => ({
    ...spread,
    note: `the longest ${rounded(longestMs)} ms`
  })
  const bound = { unit: 'ms', bound: 'at most', goal: 10 } as const
  return {
    rows: [
      { name: 'a snapshot is taken', ...spreadOf(tookMs) },
      { name: 'turns of the loop while it is taken', ...noted(taken) },
      { name: 'turns of the loop while one arrives', ...noted(arrived) }
    ],
    goals: [
      judged({ name: `longest pause, ${bench.n} tasks are written`, ...bound }, taken.longestMs),
      judged({ name: `longest pause, ${bench.n} tasks arrive`, ...bound }, arrived.longestMs)
    ],
    notes: [
      `${rounds} rounds; ${tasksAgents} agents, a wish and an assignment for each task. A pause of the collector counts as one of the loop;`,
      `Node runs with ${masterHeap}, as a master does. 99.9 % of all turns took at most ${rounded(p999Ms)} ms.`
    ]
  }
}

async function figuresOf(bench: Bench, order: SnapshotOrder): Promise<SnapshotFigures> {
  const child = fork(join(import.meta.dirname, 'snapshot-run.mjs'), [], { execArgv: [masterHeap], detached: true })
  const stop = bench.cleanup.add('the process that takes snapshots', () => end(child))
  const figures = await new Promise<SnapshotFigures>((resolve, reject) => {
    child.once('exit', (code) => reject(new Fault('unavailable', `the process that takes snapshots ended with ${code}`)))
    child.once('message', (answer) => resolve(answer as SnapshotFigures))
    bench.signal.addEventListener('abort', () => reject(bench.signal.reason as Error), { once: true })
    child.send(order)
  })
  await stop()
  return figures
}
