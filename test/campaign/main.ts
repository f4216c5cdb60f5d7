import { setMaxListeners } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Fault, isFault } from '../../base/fault.ts'
import { Cleanup } from '../bench/cleanup.ts'
import { commitOf, machineFacts, versionFacts } from '../bench/machine.ts'
import { type Report, renderReport, writeReport } from '../bench/report.ts'
import { agentKill } from './agent-kill/agent-kill.ts'
import { type CampaignKind, type CampaignWish, failureText, runCampaign, summary } from './campaign.ts'
import { causes } from './causes/causes.ts'
import { codeDigest } from './code-digest.ts'
import { crashSweep } from './crash-sweep/crash-sweep.ts'
import { syscallSweep } from './crash-sweep/syscall-sweep.ts'
import { logs } from './logs/logs.ts'
import { Progress } from './progress.ts'
import { ResumeFile } from './resume.ts'

/** Every campaign; a new one is a row here. */
const kinds: Readonly<Record<string, CampaignKind>> = {
  'agent-kill': agentKill,
  causes,
  'crash-sweep': crashSweep,
  logs,
  'syscall-sweep': syscallSweep
}

const shared = {
  runs: 'how many runs; default: as many as fit into the time',
  seed: 'the first run’s seed; default 1',
  json: 'write the report to this file',
  resume: 'keep finished runs in this file, and do only those that it has not'
}
const budgetMs = { short: 30_000, long: 120_000 }

/** Runs one campaign. 0: every run is clean; 1: a broken invariant, or no run at all; 64: asked wrongly; 69: could not be run. */
export async function main(argv: readonly string[], root: string): Promise<number> {
  const cleanup = new Cleanup()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // every wait of every run listens to it
  const interrupt = (): void => stop.abort(new Fault('unavailable', 'stopped by a signal'))
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)
  const progress = new Progress(process.stderr, () => performance.now())
  try {
    const asked = readArguments(argv)
    if (asked === 'help') {
      process.stdout.write(help())
      return 0
    }
    if (process.getuid?.() !== 0) throw new Fault('denied', 'the campaigns make containers and need root')
    return await carryOut(asked, root, { cleanup, progress, signal: stop.signal })
  } catch (e) {
    const cause: unknown = stop.signal.aborted ? stop.signal.reason : e
    if (!isFault(cause)) throw cause
    process.stderr.write(`hearth: ${cause.message}\n`)
    return cause.code === 'invalid' ? 64 : 69
  } finally {
    for (const sentence of await cleanup.run()) process.stderr.write(`hearth: ${sentence}\n`)
  }
}

interface Asked {
  readonly name: string
  readonly kind: CampaignKind
  readonly wish: CampaignWish
  readonly json: string | undefined
  readonly resume: string | undefined
}

interface Around {
  readonly cleanup: Cleanup
  readonly progress: Progress
  readonly signal: AbortSignal
}

async function carryOut({ name, kind, wish, json, resume }: Asked, root: string, around: Around): Promise<number> {
  const { cleanup, progress, signal } = around
  const facts = { commit: commitOf(root), machine: machineFacts(), versions: versionFacts() }
  const directory = mkdtempSync(join(tmpdir(), 'hc-'))
  cleanup.add(directory, () => rmSync(directory, { recursive: true, force: true }))
  const failures = join(root, '.cache/campaign', name)
  mkdirSync(failures, { recursive: true })
  const campaign = await kind.open({ root, directory, failures, cleanup, signal }, wish)
  const key = {
    campaign: name,
    commit: facts.commit,
    code: codeDigest(root, kind.sources),
    configuration: campaign.configuration
  }
  const file = ResumeFile.open(resume, key)
  if (file.discarded !== undefined) progress.tell(`hearth: ${file.discarded}`)
  if (file.finished.length > 0) progress.tell(`hearth: ${file.finished.length} runs were finished before`)
  const shortOrLong = wish.long ? budgetMs.long : budgetMs.short
  const limitMs = wish.runs !== undefined ? Number.POSITIVE_INFINITY : (campaign.limitMs ?? shortOrLong)
  const parts = {
    nowMs: () => performance.now(),
    progress: progress.replace,
    tell: progress.tell,
    keep: file.keep
  }
  const finished = await runCampaign(campaign, file.finished, parts, { budgetMs: limitMs, signal })
  progress.end()
  if (signal.aborted) {
    if (resume !== undefined)
      process.stderr.write(`hearth: ${finished.length} runs are kept; the same command goes on with them\n`)
    throw signal.reason
  }
  const { rows, goals } = summary(finished)
  const own = campaign.report(finished)
  const failed = finished.filter((r) => r.violations.length > 0)
  const report: Report = {
    name: `campaign ${name}`,
    ...facts,
    rows: [...rows, ...own.rows],
    goals,
    notes: [
      ...own.notes,
      `Configuration: ${JSON.stringify(campaign.configuration)}`,
      ...failed.map((run) => failureText(campaign, run))
    ]
  }
  process.stdout.write(renderReport(report))
  if (json !== undefined) writeReport(json, report)
  if (finished.length === 0) process.stderr.write('hearth: no run was carried out: give it more time\n')
  return failed.length === 0 && finished.length > 0 ? 0 : 1
}

function readArguments(argv: readonly string[]): Asked | 'help' {
  const own = Object.values(kinds).flatMap((kind) => Object.keys(kind.options))
  const texts = [...new Set([...Object.keys(shared), ...own])].map((flag) => [flag, { type: 'string' as const }] as const)
  const options = { ...Object.fromEntries(texts), long: { type: 'boolean' as const }, help: { type: 'boolean' as const } }
  let parsed: {
    readonly values: Readonly<Record<string, string | boolean | undefined>>
    readonly positionals: readonly string[]
  }
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true })
  } catch (cause) {
    throw new Fault('invalid', `${(cause as Error).message}; npm run campaign -- --help tells them all`, {}, cause)
  }
  const { values, positionals } = parsed
  if (values['help'] === true || (positionals.length === 0 && argv.length === 0)) return 'help'
  const [name = '', ...more] = positionals
  const kind = kinds[name]
  if (kind === undefined || more.length > 0) {
    throw new Fault(
      'invalid',
      `name one campaign: ${Object.keys(kinds).join(', ')}; npm run campaign -- --help tells what they do`
    )
  }
  const text = (flag: string): string | undefined => (typeof values[flag] === 'string' ? values[flag] : undefined)
  for (const flag of own) {
    if (text(flag) !== undefined && !(flag in kind.options)) throw new Fault('invalid', `${name} has no option --${flag}`)
  }
  const number = (flag: string, least: number): number | undefined => {
    const given = text(flag)
    if (given === undefined) return undefined
    const value = Number(given)
    if (Number.isSafeInteger(value) && value >= least) return value
    throw new Fault('invalid', `--${flag} must be a whole number of at least ${least}, not ${JSON.stringify(given)}`)
  }
  const ownOptions = Object.fromEntries(Object.keys(kind.options).map((flag) => [flag, text(flag)]))
  const wish = { runs: number('runs', 1), seed: number('seed', 0) ?? 1, long: values['long'] === true, more: ownOptions }
  return { name, kind, wish, json: text('json'), resume: text('resume') }
}

function help(): string {
  const rows = (all: Readonly<Record<string, string>>, indent: string): string[] =>
    Object.entries(all).map(([flag, means]) => `${indent}--${flag.padEnd(10)} ${means}`)
  return [
    'npm run campaign -- NAME [options]: runs the agent through faults and checks every invariant from the kernel’s side.',
    '',
    ...Object.entries(kinds).flatMap(([name, kind]) => [`  ${name.padEnd(14)} ${kind.summary}`, ...rows(kind.options, '      ')]),
    '',
    ...rows(shared, '  '),
    '  --long       120 s of runs instead of 30 where --runs is not given',
    '',
    'It ends with 0 when every run is clean, with 1 when an invariant was broken; a broken one is told with the command that',
    'repeats its run, and what the run left to read lies in .cache/campaign/NAME/.',
    ''
  ].join('\n')
}
