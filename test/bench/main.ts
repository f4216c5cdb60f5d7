import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Fault, isFault } from '../../base/fault.ts'
import { agentStart } from './agent-start.ts'
import { Bench, type Outcome } from './bench.ts'
import { burst } from './burst.ts'
import { Cleanup } from './cleanup.ts'
import { cli } from './cli.ts'
import { footprint } from './footprint.ts'
import { fsck } from './fsck.ts'
import { launch } from './launch.ts'
import { ledger } from './ledger.ts'
import { logs } from './logs.ts'
import { commitOf, machineFacts, versionFacts } from './machine.ts'
import { reattach } from './reattach.ts'
import { type Report, renderReport, writeReport } from './report.ts'

interface Kind {
  readonly measure: (bench: Bench) => Promise<Outcome>
  readonly n: number
}

/** What `--n` counts: launches, containers a round, containers, commands, seconds of writing, starts, orphans of a kind, appends, containers. */
const benches: Readonly<Record<string, Kind>> = {
  launch: { measure: launch, n: 200 },
  burst: { measure: burst, n: 100 },
  footprint: { measure: footprint, n: 100 },
  cli: { measure: cli, n: 30 },
  logs: { measure: logs, n: 20 },
  'agent-start': { measure: agentStart, n: 30 },
  fsck: { measure: fsck, n: 100 },
  ledger: { measure: ledger, n: 500 },
  reattach: { measure: reattach, n: 500 }
}

const usage = `npm run bench -- ${Object.keys(benches).join('|')} [--json FILE] [--n N] [--trace]`

/** Runs one bench. 0: measured, whatever the goals say; 64: asked wrongly; 69: could not be measured. */
export async function main(argv: readonly string[], root: string): Promise<number> {
  const cleanup = new Cleanup()
  const stop = new AbortController()
  const interrupt = (): void => stop.abort(new Fault('unavailable', 'stopped by a signal'))
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)
  try {
    const { name, kind, n, json, trace } = readArguments(argv)
    if (process.getuid?.() !== 0) throw new Fault('denied', 'the benches make containers and need root')
    const before = { commit: commitOf(root), machine: machineFacts(), versions: versionFacts() }
    const directory = mkdtempSync(join(tmpdir(), 'hb-'))
    cleanup.add(directory, () => rmSync(directory, { recursive: true, force: true }))
    const bench = new Bench({ cleanup, signal: stop.signal }, { root, directory, n: n ?? kind.n, trace })
    const outcome = await kind.measure(bench)
    const report: Report = { name, ...before, ...outcome }
    bench.progress('')
    process.stdout.write(renderReport(report))
    if (json !== undefined) writeReport(json, report)
    return 0
  } catch (e) {
    const cause: unknown = stop.signal.aborted ? stop.signal.reason : e
    if (!isFault(cause)) throw cause
    process.stderr.write(`hearth: ${cause.message}\n`)
    return cause.code === 'invalid' ? 64 : 69
  } finally {
    for (const sentence of await cleanup.run()) process.stderr.write(`hearth: ${sentence}\n`)
  }
}

interface Wish {
  readonly name: string
  readonly kind: Kind
  readonly n: number | undefined
  readonly json: string | undefined
  readonly trace: boolean
}

function readArguments(argv: readonly string[]): Wish {
  let parsed: { readonly values: { n?: string; json?: string; trace?: boolean }; readonly positionals: readonly string[] }
  try {
    const options = { n: { type: 'string' }, json: { type: 'string' }, trace: { type: 'boolean' } } as const
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true })
  } catch (cause) {
    throw new Fault('invalid', `${(cause as Error).message}; ${usage}`, {}, cause)
  }
  const { values, positionals } = parsed
  const [name = '', ...more] = positionals
  const kind = benches[name]
  if (kind === undefined || more.length > 0) throw new Fault('invalid', usage)
  const n = values.n === undefined ? undefined : Number(values.n)
  if (n !== undefined && !(Number.isInteger(n) && n > 0)) throw new Fault('invalid', '--n must be a whole number above 0')
  if (values.trace === true && name !== 'launch')
    throw new Fault('invalid', '--trace shows the steps of a launch: use it with launch')
  return { name, kind, n, json: values.json, trace: values.trace ?? false }
}
