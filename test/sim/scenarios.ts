import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { commitOf, machineFacts } from '../bench/machine.ts'
import { judged, type Report } from '../bench/report.ts'
import { rewriteScenario, runFolder, type ScenarioResult } from '../scenario/run.ts'

interface ScenarioReport extends Report {
  readonly run: number
  readonly passed: number
  readonly deviating: number
  readonly refused: number
  readonly files: readonly ScenarioResult[]
}

/** Runs all scenario files below `folder`. A folder without any is a mistake of the caller, and said so. */
export function runScenarios(folder: string, root: string): ScenarioReport {
  if (!existsSync(folder)) throw new Fault('invalid', `there is no folder ${folder}: name the one that holds the scenario files`)
  const files = runFolder(folder)
  if (files.length === 0) throw new Fault('invalid', `there is no scenario file (*.txt) below ${folder}: name another folder`)
  const refused = files.filter((file) => file.refused !== undefined).length
  const deviating = files.filter((file) => file.deviation !== undefined).length
  const passed = files.length - refused - deviating
  const cases = (kind: string) => files.filter((f) => f.kind === kind).reduce((sum, f) => sum + f.cases, 0)
  return {
    name: 'raft scenarios',
    commit: commitOf(root),
    machine: machineFacts(),
    versions: { node: process.versions.node },
    run: files.length,
    passed,
    deviating,
    refused,
    rows: ['quorum', 'confchange', 'interaction'].map((kind) => ({ name: `${kind} cases`, n: cases(kind) })),
    goals: [
      judged({ name: 'passing files', unit: 'files', bound: 'at least', goal: files.length }, passed),
      judged({ name: 'deviating files', unit: 'files', bound: 'at most', goal: 0 }, deviating),
      judged({ name: 'refused files', unit: 'files', bound: 'at most', goal: 0 }, refused)
    ],
    notes: ['Interaction files are compared on every line but log lines, the others byte for byte. No difference is on purpose.'],
    files
  }
}

/** For a terminal: one line a file, the first deviation of each in full, and the count. */
export function renderScenarios({ files, run, passed, deviating, refused }: ScenarioReport): string {
  const lines = files.map((file) => {
    if (file.refused !== undefined) return `refused  ${file.file}: ${file.refused}`
    if (file.deviation === undefined) return `ok       ${file.file} (${file.cases} cases)`
    const { line, command, expected, actual } = file.deviation
    return `DEVIATES ${file.file}, line ${line}, ${command}\n--- expected\n${expected}\n--- actual\n${actual.trimEnd()}\n---`
  })
  return `${lines.join('\n')}\n${run} run, ${passed} passed, ${deviating} deviating, ${refused} refused\n`
}

/** Puts what our core prints into the files, for a person to read and compare with git. */
export function rewriteScenarios(folder: string): number {
  const files = runFolder(folder)
  for (const { file } of files) {
    const path = join(folder, file)
    writeFileSync(path, rewriteScenario(readFileSync(path, 'utf8')))
  }
  return files.length
}
