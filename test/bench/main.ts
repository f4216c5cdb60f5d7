import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { agentStart } from './agent-start.ts'
import { agents } from './agents.ts'
import { Bench, type Outcome } from './bench.ts'
import { burst } from './burst.ts'
import { cli } from './cli.ts'
import { readWords, runCommand } from './command.ts'
import { footprint } from './footprint.ts'
import { fsck } from './fsck.ts'
import { isolators } from './isolators.ts'
import { launch } from './launch.ts'
import { ledger } from './ledger.ts'
import { logs } from './logs.ts'
import { commitOf, machineFacts, versionFacts } from './machine.ts'
import { pull } from './pull.ts'
import { type RaftWish, raft, raftFlags, raftWishOf } from './raft.ts'
import { reattach } from './reattach.ts'
import { checkReportPlace, type Report, renderReport, writeReport } from './report.ts'
import { stateSnapshot } from './state-snapshot.ts'

interface Kind {
  readonly measure: (bench: Bench) => Promise<Outcome>
  readonly n: number
}

/** What `--n` counts: launches, containers a round, containers, commands, seconds of writing, starts, orphans of a kind, containers, appends, agents, containers, seconds a row, pulls, tasks. */
const benches: Readonly<Record<string, Kind>> = {
  launch: { measure: launch, n: 200 },
  burst: { measure: burst, n: 100 },
  footprint: { measure: footprint, n: 100 },
  cli: { measure: cli, n: 30 },
  logs: { measure: logs, n: 20 },
  'agent-start': { measure: agentStart, n: 30 },
  fsck: { measure: fsck, n: 100 },
  isolators: { measure: isolators, n: 500 },
  ledger: { measure: ledger, n: 500 },
  agents: { measure: agents, n: 10_000 },
  reattach: { measure: reattach, n: 500 },
  raft: { measure: raft, n: 30 },
  pull: { measure: pull, n: 5 },
  'state-snapshot': { measure: stateSnapshot, n: 100_000 }
}

const traced = new Set(['launch', 'agent-start'])
const usage = `npm run bench -- ${Object.keys(benches).join('|')} [--json FILE] [--n N] [--trace]
  raft also takes [--long] [--kills N] [--freezes N] [--only SYSTEM,...] [--resume FILE]`

/** Runs one bench. 0: measured, whatever the goals say; 64: asked wrongly; 69: could not be measured. */
export const main = (argv: readonly string[], root: string): Promise<number> =>
  runCommand(async ({ cleanup, signal }) => {
    const { name, kind, n, json, trace, raft: raftWish } = readArguments(argv)
    checkReportPlace(json)
    if (process.getuid?.() !== 0) throw new Fault('denied', 'the benches make containers and need root')
    const before = { commit: commitOf(root), machine: machineFacts(), versions: versionFacts() }
    const directory = mkdtempSync(join(tmpdir(), 'hb-'))
    cleanup.add(directory, () => rmSync(directory, { recursive: true, force: true }))
    const bench = new Bench({ cleanup, signal }, { root, directory, n: n ?? kind.n, trace, raft: raftWish })
    const outcome = await kind.measure(bench)
    const report: Report = { name, ...before, ...outcome }
    bench.progress('')
    process.stdout.write(renderReport(report))
    if (json !== undefined) writeReport(json, report)
    return 0
  })

interface Wish {
  readonly name: string
  readonly kind: Kind
  readonly n: number | undefined
  readonly json: string | undefined
  readonly trace: boolean
  readonly raft: RaftWish
}

function readArguments(argv: readonly string[]): Wish {
  const words = readWords(argv, { texts: ['n', 'json', ...raftFlags.texts], switches: ['trace', ...raftFlags.switches] }, usage)
  const [name = '', ...more] = words.names
  const kind = benches[name]
  if (kind === undefined || more.length > 0) throw new Fault('invalid', usage)
  const trace = words.has('trace')
  if (trace && !traced.has(name))
    throw new Fault('invalid', `--trace shows the steps of ${[...traced].join(' or ')}: use it with one`)
  const stray = [...raftFlags.texts, ...raftFlags.switches].find(
    (flag) => name !== 'raft' && (words.has(flag) || words.text(flag))
  )
  if (stray !== undefined) throw new Fault('invalid', `--${stray} is for raft: ${usage}`)
  return { name, kind, n: words.number('n', 1), json: words.text('json'), trace, raft: raftWishOf(words) }
}
