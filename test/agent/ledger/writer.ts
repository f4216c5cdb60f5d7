import { openLedger } from '../../../agent/ledger/ledger.ts'
import { silentLog } from '../../../base/log.ts'
import { containerId, statusRow } from './support.ts'

/** Appends tasks without end and says the number of each status that is on the disk. For crash.test.ts. */
const directory = process.argv[2] ?? ''
const ledger = await openLedger({ log: silentLog }, { directory, reserveBytes: 4096, snapshotAfterBytes: 3_000 })
const last = [...ledger.view.tasks.values()].at(-1)
for (let n = Number(last?.row.group?.tasks[0]?.taskId ?? 0) + 1; ; n += 1) {
  const group = { frameworkId: 'f', role: '*', tasks: [{ taskId: String(n) }] }
  const { nextStatusNumber } = ledger.view
  await Promise.all([
    ledger.append({ task: { group, containerId: containerId(n), attempt: 1 } }, 'disk'),
    ledger.append(statusRow(n, nextStatusNumber), 'disk'),
    n > 10 ? ledger.append({ forget: { containerId: containerId(n - 10) } }, 'kernel') : undefined
  ])
  process.stdout.write(`${nextStatusNumber}\n`)
}
