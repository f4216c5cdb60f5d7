import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { Fault } from '../../base/fault.ts'
import { type PlantedBug, plantedBugs } from './bugs.ts'
import { bugsOfLeases } from './leases/bugs.ts'

export interface Found {
  readonly name: string
  /** How many seeds it took; undefined when none of them found it. */
  readonly seeds: number | undefined
  /** So many were run at most. */
  readonly of: number
  readonly violation: string
}

/** What is not found by then counts as not found. */
const patienceMs = 600_000

/**
 * Runs each planted bug whose name holds `text` until a seed finds it, at most `maxSeeds`. One that `known` has found, or has sought
 * that long, is not sought again. `keep` hears of everything that is known after each.
 */
export async function findBugs(
  root: string,
  { maxSeeds, text, known }: { readonly maxSeeds: number; readonly text: string; readonly known: readonly Found[] },
  { tell, keep }: { readonly tell: (line: string) => void; readonly keep: (found: readonly Found[]) => void }
): Promise<readonly Found[]> {
  let found = known.filter(({ name }) => plantedBugs.some((bug) => bug.name === name))
  for (const bug of plantedBugs.filter(({ name }) => name.includes(text))) {
    const before = found.find(({ name }) => name === bug.name)
    if (before !== undefined && (before.seeds !== undefined || before.of >= maxSeeds)) continue
    const result = await findBug(root, bug, maxSeeds)
    found = [...found.filter(({ name }) => name !== bug.name), result]
    keep(found)
    tell(
      result.seeds === undefined
        ? `NOT FOUND ${bug.name}`
        : `${String(result.seeds).padStart(5)} ${bug.name}: ${result.violation}`
    )
  }
  return found
}

/** As it stands in docs/raft.md. */
export function bugTable(found: readonly Found[]): string {
  const counts = [...new Set(found.flatMap(({ seeds }) => (seeds === undefined ? [] : [seeds])))].sort((a, b) => a - b)
  const named = (some: readonly Found[]): string =>
    some
      .map(({ name }) => name)
      .sort()
      .join('; ')
  const missed = found.filter(({ seeds }) => seeds === undefined)
  const limit = Math.max(0, ...found.map((one) => one.of))
  return [
    `${found.length - missed.length} of ${found.length} planted mistakes are found within ${limit} seeds.`,
    '',
    '| seeds | mistakes |',
    '|---|---|',
    ...counts.map((count) => `| ${count} | ${named(found.filter(({ seeds }) => seeds === count))} |`),
    ...(missed.length === 0 ? [] : ['', `Not found: ${named(missed)}.`]),
    ''
  ].join('\n')
}

async function findBug(root: string, bug: PlantedBug, maxSeeds: number): Promise<Found> {
  const bundle = join(root, `.cache/sim/planted-${process.pid}.mjs`)
  await bundleWith(root, bug, bundle)
  const child = spawnSync(process.execPath, [bundle, String(maxSeeds)], { encoding: 'utf8', timeout: patienceMs })
  const [seeds, violation = ''] = child.stdout.split('\t')
  const known = { name: bug.name, of: maxSeeds }
  if (child.error !== undefined) return { ...known, seeds: undefined, violation: '' }
  if (child.status !== 0) throw new Fault('invalid', `the bug "${bug.name}" does not run: ${child.stderr}`)
  return { ...known, seeds: seeds === '' ? undefined : Number(seeds), violation: violation.split('\n')[0] ?? '' }
}

async function bundleWith(root: string, bug: PlantedBug, outfile: string): Promise<void> {
  const path = join(root, 'master', bug.file)
  const text = readFileSync(path, 'utf8')
  const parts = text.split(bug.find)
  if (parts.length !== 2) throw new Fault('invalid', `the text of "${bug.name}" stands ${parts.length - 1} times in ${bug.file}`)
  await build({
    stdin: {
      contents: bugsOfLeases.includes(bug) ? loopOver('leases/world', 'runLeaseSeed') : loopOver('run', 'runSeed'),
      resolveDir: root,
      loader: 'ts'
    },
    plugins: [
      {
        name: 'planted-bug',
        setup: ({ onLoad }) => {
          onLoad({ filter: /master\/[a-z/-]+\.ts$/ }, ({ path: loaded }) =>
            loaded === path ? { contents: parts.join(bug.replace), loader: 'ts' } : undefined
          )
        }
      }
    ],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'error',
    absWorkingDir: root,
    outfile
  })
}

/** Prints how many seeds it took and what was broken. */
const loopOver = (file: string, run: string): string => `import { ${run} } from './test/sim/${file}.ts'
for (let seed = 1; seed <= Number(process.argv[2]); seed++) {
  const { violation } = await ${run}(seed)
  if (violation === undefined) continue
  process.stdout.write(seed + '\\t' + violation)
  break
}`
