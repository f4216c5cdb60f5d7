import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type Around, readWords, runCommand } from '../bench/command.ts'
import { commitOf, machineFacts, versionFacts } from '../bench/machine.ts'
import { checkReportPlace, type Report, renderReport, writeReport } from '../bench/report.ts'
import { agentKill } from './agent-kill/agent-kill.ts'
import { type CampaignKind, type CampaignWish, failureText, runCampaign, summary } from './campaign.ts'
import { causes } from './causes/causes.ts'
import { codeDigest } from './code-digest.ts'
import { crashSweep } from './crash-sweep/crash-sweep.ts'
import { syscallSweep } from './crash-sweep/syscall-sweep.ts'
import { escapes } from './escape/escape.ts'
import { logs } from './logs/logs.ts'
import { masters } from './masters/masters.ts'
import { Progress } from './progress.ts'
import { ResumeFile } from './resume.ts'

/** Every campaign; a new one is a row here. */
const kinds: Readonly<Record<string, CampaignKind>> = {
  'agent-kill': agentKill,
  causes,
  'crash-sweep': crashSweep,
  escape: escapes,
  logs,
  masters,
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
export const main = (argv: readonly string[], root: string): Promise<number> =>
  runCommand(async (around) => {
    const asked = readArguments(argv)
    if (asked === 'help') {
      process.stdout.write(help())
      return 0
    }
    if (process.getuid?.() !== 0) throw new Fault('denied', 'the campaigns make containers and need root')
    return await carryOut(asked, root, around)
  })

/**
 * Puts a file system in memory there: ext4 passes over the numbers of files deleted in the last seconds one by one, and a fifth
 * of a sweep's processor time went there. Its own, for the agent does other things where its state lies on the tmpfs of /run.
 */
function mountMemory(directory: string): () => void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=0711,size=50%', 'hearth-campaign', directory])
  return () => execFileSync('umount', ['--lazy', directory])
}

interface Asked {
  readonly name: string
  readonly kind: CampaignKind
  readonly wish: CampaignWish
  readonly json: string | undefined
  readonly resume: string | undefined
}

async function carryOut({ name, kind, wish, json, resume }: Asked, root: string, around: Around): Promise<number> {
  const { cleanup, signal } = around
  const progress = new Progress(process.stderr, () => performance.now())
  checkReportPlace(json)
  const facts = { commit: commitOf(root), machine: machineFacts(), versions: versionFacts() }
  const directory = mkdtempSync(join(tmpdir(), 'hc-'))
  cleanup.add(directory, () => rmSync(directory, { recursive: true, force: true }))
  if (kind.inMemory === true) cleanup.add(`${directory} in memory`, mountMemory(directory))
  const failures = join(root, '.cache/campaign', name)
  mkdirSync(failures, { recursive: true })
  const campaign = await kind.open({ root, directory, failures, cleanup, signal }, wish)
  const key = {
    campaign: name,
    commit: facts.commit,
    code: codeDigest(root, kind.sources, kind.programs),
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
  const texts = [...new Set([...Object.keys(shared), ...own])]
  const words = readWords(argv, { texts, switches: ['long', 'help'] }, 'npm run campaign -- --help tells them all')
  if (words.has('help') || argv.length === 0) return 'help'
  const [name = '', ...more] = words.names
  const kind = kinds[name]
  if (kind === undefined || more.length > 0) {
    throw new Fault(
      'invalid',
      `name one campaign: ${Object.keys(kinds).join(', ')}; npm run campaign -- --help tells what they do`
    )
  }
  for (const flag of own) {
    if (words.text(flag) !== undefined && !(flag in kind.options)) throw new Fault('invalid', `${name} has no option --${flag}`)
  }
  const ownOptions = Object.fromEntries(Object.keys(kind.options).map((flag) => [flag, words.text(flag)]))
  const wish = { runs: words.number('runs', 1), seed: words.number('seed', 0) ?? 1, long: words.has('long'), more: ownOptions }
  return { name, kind, wish, json: words.text('json'), resume: words.text('resume') }
}

function help(): string {
  const rows = (all: Readonly<Record<string, string>>, indent: string): string[] =>
    Object.entries(all).map(([flag, means]) => `${indent}--${flag.padEnd(10)} ${means}`)
  return [
    'npm run campaign -- NAME [options]: runs agents and masters through faults and checks every invariant from outside.',
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
