import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Fault, isFault } from '../../base/fault.ts'
import { renderScenarios, rewriteScenarios, runScenarios } from './scenarios.ts'

const usage = `npm run sim -- scenarios [DIR] [--json FILE]   run the scenario files (*.txt) below DIR, else below HEARTH_RAFT_SCENARIOS
npm run sim -- scenarios DIR --rewrite         put what the core prints into them
`

/** 0: all is as expected; 1: something is not; 64: asked wrongly. */
export function main(argv: readonly string[], root: string): number {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { json: { type: 'string' }, rewrite: { type: 'boolean' }, help: { type: 'boolean' } }
    })
    const [command, ...rest] = positionals
    if (values.help === true) {
      process.stdout.write(usage)
      return 0
    }
    if (command !== 'scenarios') throw new Fault('invalid', `nothing to run\n${usage}`)
    const folder = rest[0] ?? process.env['HEARTH_RAFT_SCENARIOS']
    if (folder === undefined) throw new Fault('invalid', 'name the folder of the scenario files, or set HEARTH_RAFT_SCENARIOS')
    if (values.rewrite === true) {
      process.stdout.write(`${rewriteScenarios(folder)} files rewritten\n`)
      return 0
    }
    return scenarios(folder, root, values.json)
  } catch (error) {
    if (!isFault(error) && !isAskedWrongly(error)) throw error
    process.stderr.write(`hearth: ${error.message}\n`)
    return 64
  }
}

/** A folder that is not there, or an option that nobody knows. */
function isAskedWrongly(error: unknown): error is Error {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return code === 'ENOENT' || code.startsWith('ERR_PARSE_ARGS')
}

function scenarios(folder: string, root: string, json: string | undefined): number {
  const report = runScenarios(folder, root)
  process.stdout.write(renderScenarios(report))
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  return report.passed === report.run ? 0 : 1
}
