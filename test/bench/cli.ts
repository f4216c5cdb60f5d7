import type { Bench, Outcome } from './bench.ts'
import { startCluster } from './cluster.ts'
import { findNode24 } from './node24.ts'
import { run } from './programs.ts'
import { judged, type Row } from './report.ts'
import { spreadOf } from './statistics.ts'

interface Command {
  readonly name: string
  readonly program: string
  readonly arguments: readonly string[]
  readonly samples: number[]
}

/** Whole-process wall time of one command, from fork to exit, against a cluster as `hearth up` makes it. */
export async function cli(bench: Bench): Promise<Outcome> {
  const node24 = await findNode24(bench.root)
  const cluster = await startCluster(bench, 'c')
  const words = ['--', cluster.program, 'task', 'run', '--state-dir', cluster.stateDir, '--rm', 'host', 'true']
  const nodes = [{ name: `Node ${process.versions.node.split('.')[0] ?? ''}`, program: process.execPath }]
  if (node24 !== undefined) nodes.push({ name: 'Node 24', program: node24 })
  const commands = nodes.flatMap(({ name, program }): Command[] => [
    { name: `hearth task run --rm host true, ${name}`, program, arguments: words, samples: [] },
    { name: `node -e 0, ${name}`, program, arguments: ['-e', '0'], samples: [] }
  ])
  for (const command of commands) await timed(command)
  for (let round = 0; round < bench.n; round += 1) {
    bench.progress(`command ${round + 1} of ${bench.n}`)
    for (const command of round % 2 === 0 ? commands : [...commands].reverse()) {
      bench.signal.throwIfAborted()
      command.samples.push(await timed(command))
    }
  }
  const rows: readonly Row[] = commands.map(({ name, samples }) => ({ name, ...spreadOf(samples) }))
  const p50Of = (node: string): number | undefined =>
    rows.find((r) => r.name === `hearth task run --rm host true, ${node}`)?.p50Ms
  return {
    rows,
    goals: [
      judged({ name: 'task run p50, Node 20', unit: 'ms', bound: 'at most', goal: 220 }, p50Of('Node 20'), 'this is not Node 20'),
      judged({ name: 'task run p50, Node 24', unit: 'ms', bound: 'at most', goal: 160 }, p50Of('Node 24'), 'Node 24 is not there')
    ],
    notes: [`Master and agent run on Node ${process.versions.node}; \`node -e 0\` is what Node alone takes.`]
  }
}

/** Rejects where the command fails: a failed command is quick, and no figure. */
async function timed({ program, arguments: args }: Command): Promise<number> {
  const startMs = performance.now()
  await run(program, args)
  return performance.now() - startMs
}
