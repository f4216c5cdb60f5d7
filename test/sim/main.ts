import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Fault, isFault } from '../../base/fault.ts'
import { renderReport } from '../bench/report.ts'
import { runLeaseSeeds } from './leases/seeds.ts'
import { bugTable, type Found, findBugs } from './planted.ts'
import { renderScenarios, rewriteScenarios, runScenarios } from './scenarios.ts'
import { runSeeds } from './seeds.ts'

const usage = `npm run sim -- --seeds N [--seed S] [--json FILE]   simulate N clusters, from seed S on
              [--minutes M] [--resume FILE]         no longer than M minutes; keep finished seeds in FILE and go on from there
npm run sim -- bugs [--seeds N] [--bug TEXT] [--json FILE]
                                                    plant each known mistake, or those with TEXT in their name, and count the
                                                    seeds until one finds it; goes on where FILE says that it stopped
npm run sim -- leases --seeds N [--seed S] [--json FILE]
                                                    simulate N clusters whose tasks have leases
npm run sim -- scenarios [DIR] [--json FILE]        run the scenario files (*.txt) below DIR, else HEARTH_RAFT_SCENARIOS
npm run sim -- scenarios DIR --rewrite              put what the core prints into them
`

const options = {
  seeds: { type: 'string' },
  seed: { type: 'string' },
  minutes: { type: 'string' },
  resume: { type: 'string' },
  json: { type: 'string' },
  bug: { type: 'string' },
  rewrite: { type: 'boolean' },
  help: { type: 'boolean' }
} as const

interface Asked {
  readonly command: string
  readonly folder: string | undefined
  readonly seeds: string | undefined
  readonly seed: string | undefined
  readonly minutes: string | undefined
  readonly resume: string | undefined
  readonly json: string | undefined
  readonly bug: string | undefined
  readonly rewrite: boolean
}

/** 0: all is as expected; 1: something is not; 64: asked wrongly. */
export async function main(argv: readonly string[], root: string): Promise<number> {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options })
    if (values.help === true) {
      process.stdout.write(usage)
      return 0
    }
    const { seeds, seed, minutes, resume, json, bug, rewrite = false } = values
    const command = positionals[0] ?? ([seeds, seed, minutes].every((value) => value === undefined) ? '' : 'seeds')
    return await carryOut({ command, folder: positionals[1], seeds, seed, minutes, resume, json, bug, rewrite }, root)
  } catch (error) {
    const isOption = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
    if (!isOption && !isFault(error)) throw error
    process.stderr.write(`hearth: ${error.message}\n`)
    return 64
  }
}

async function carryOut(asked: Asked, root: string): Promise<number> {
  if (asked.command === 'scenarios') return scenarios(asked, root)
  if (asked.command === 'bugs') return bugs(asked, root)
  if (asked.command === 'leases') return leases(asked, root)
  if (asked.command === 'seeds') return seeds(asked, root)
  throw new Fault('invalid', `nothing to run\n${usage}`)
}

function scenarios({ folder: given, rewrite, json }: Asked, root: string): number {
  const folder = given ?? process.env['HEARTH_RAFT_SCENARIOS']
  if (folder === undefined) throw new Fault('invalid', 'name the folder of the scenario files, or set HEARTH_RAFT_SCENARIOS')
  if (rewrite) {
    process.stdout.write(`${rewriteScenarios(folder)} files rewritten\n`)
    return 0
  }
  const report = runScenarios(folder, root)
  process.stdout.write(renderScenarios(report))
  write(json, report)
  return report.passed === report.run ? 0 : 1
}

async function seeds({ seeds: count, seed, minutes, resume, json }: Asked, root: string): Promise<number> {
  const wish = {
    firstSeed: numberOf('--seed', seed ?? '1'),
    count: numberOf('--seeds', count ?? (minutes === undefined ? '1' : '1000000')),
    minutes: minutes === undefined ? undefined : numberOf('--minutes', minutes),
    resume
  }
  const report = await runSeeds(wish, root, tell)
  process.stdout.write(renderReport(report))
  write(json, report)
  return report.violations.length === 0 ? 0 : 1
}

async function leases({ seeds: count, seed, json }: Asked, root: string): Promise<number> {
  const report = await runLeaseSeeds(numberOf('--seed', seed ?? '1'), numberOf('--seeds', count ?? '1'), root, tell)
  process.stdout.write(renderReport(report))
  write(json, report)
  return report.violations.length === 0 ? 0 : 1
}

async function bugs({ seeds: count, json, bug = '' }: Asked, root: string): Promise<number> {
  const maxSeeds = numberOf('--seeds', count ?? '200')
  const keep = (found: readonly Found[]): void => write(json, { name: 'planted bugs', found })
  const found = await findBugs(root, { maxSeeds, text: bug, known: knownIn(json) }, { tell, keep })
  tell(bugTable(found))
  return found.every((one) => one.seeds !== undefined) ? 0 : 1
}

function knownIn(path: string | undefined): readonly Found[] {
  if (path === undefined || !existsSync(path)) return []
  return (JSON.parse(readFileSync(path, 'utf8')) as { readonly found: readonly Found[] }).found
}

const tell = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

function write(path: string | undefined, report: unknown): void {
  if (path !== undefined) writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
}

function numberOf(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Fault('invalid', `${option} takes a whole number from 1 on, not "${text}"`)
  return value
}
