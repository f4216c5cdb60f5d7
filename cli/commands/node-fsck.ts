import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { Fault, isFault, isFaultCode } from '../../base/fault.ts'
import type { FsckReport } from '../../sdk/fsck-messages.ts'
import { readJson, sendRequest } from '../../sdk/http.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderTable } from '../output/table.ts'
import { stateLayout } from '../state-layout.ts'

interface FsckOptions extends CommonOptions {
  readonly repair?: boolean
}

const offlinePatienceMs = 60_000
const codes = { 64: 'invalid', 69: 'unavailable', 74: 'corrupt', 77: 'denied' } as const

/** 0: ledger and host agree; 1: they do not, and it is told how. */
export async function nodeFsck(context: Context, id: string | undefined, options: FsckOptions): Promise<number> {
  const repair = options.repair === true
  const report =
    id === undefined
      ? await fsckHere(context, options, repair)
      : await context.client(options).nodes.fsck(id, repair, context.signal)
  const { stdout } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(report, null, 2)}\n`)
  else await writeOut(stdout, render(report, repair, widthOf(stdout)))
  return report.findings.length === 0 ? 0 : 1
}

/** This host's agent, or where none answers its files. */
async function fsckHere(context: Context, options: FsckOptions, repair: boolean): Promise<FsckReport> {
  const { stateDir } = context.settings(options)
  const agent = { kind: 'socket', path: stateLayout(stateDir).agentSocket } as const
  try {
    const request = { method: repair ? 'POST' : 'GET', path: '/v1/fsck' }
    return (await readJson(await sendRequest(agent, request, context.signal))) as FsckReport
  } catch (e) {
    if (!isFault(e, 'unavailable')) throw e
    if (repair) {
      throw new Fault('unavailable', `no agent runs in ${stateDir}: start it, it repairs what is proven when it starts`, {}, e)
    }
    return fsckFromFiles(stateDir)
  }
}

function fsckFromFiles(stateDir: string): FsckReport {
  const program = join(dirname(process.argv[1] ?? ''), 'agent.cjs')
  const run = spawnSync(process.execPath, [program, '--fsck', '--state-dir', stateDir], {
    encoding: 'utf8',
    timeout: offlinePatienceMs,
    maxBuffer: 64 * 1024 * 1024
  })
  if (run.status === 0 || run.status === 1) return { ...(JSON.parse(run.stdout) as FsckReport), repairs: [], offline: true }
  const said =
    (run.stderr || run.error?.message || '')
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^hearth agent: /, '') ?? ''
  const code: string = codes[run.status as keyof typeof codes] ?? 'unavailable'
  throw new Fault(isFaultCode(code) ? code : 'unavailable', `the agent's files could not be read: ${said}`)
}

function render(report: FsckReport, repaired: boolean, width: number | undefined): string {
  const where = report.offline === true ? 'no agent runs; its files say: ' : ''
  const objects = Object.values(report.seen).reduce((sum, n) => sum + n, 0)
  const table = (rows: FsckReport['findings']): string =>
    renderTable(
      [
        { title: 'VERDICT', value: (f) => f.verdict },
        { title: 'KIND', value: (f) => f.kind.replaceAll('_', ' ') },
        { title: 'OBJECT', value: (f) => f.id },
        { title: 'WHY', value: (f) => f.why, shrinks: true }
      ],
      rows,
      width
    )
  const done = report.repairs.map((r) => `${r.action} ${r.finding.kind.replaceAll('_', ' ')} ${r.finding.id}: ${r.why}\n`)
  const quarantine = report.quarantined === 0 ? '' : `${report.quarantined} damaged stretches of the ledger are quarantined\n`
  const unseen = (report.unseen ?? []).map((what) => `not looked at: ${what}\n`)
  const count = report.findings.length
  const sentence =
    count === 0 ? `${where}ledger and host agree on ${objects} objects\n` : `${where}${count} of ${objects} objects differ\n`
  const unowned = report.findings.some((f) => f.verdict === 'unowned')
  const next = unowned && !repaired ? 'hearth node fsck --repair adopts or removes what is provably Hearth’s\n' : ''
  return [...done, sentence, quarantine, ...unseen, count === 0 ? '' : table(report.findings), next].join('')
}
