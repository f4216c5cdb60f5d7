import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { openLedger } from '../../../agent/ledger/ledger.ts'
import { silentLog } from '../../../base/log.ts'
import { seededRandom } from '../../../base/random.ts'

const config = (directory: string) => ({ directory, reserveBytes: 4096, snapshotAfterBytes: 3_000 })

// What lets this Node run TypeScript; the other hooks of the test runner only make the start slow.
const loader = process.execArgv.filter((argument) => argument.includes('typescript'))

interface Writer {
  readonly pid: number | undefined
  /** The next line it says; undefined once it has ended. */
  next(): Promise<string | undefined>
  kill(): Promise<void>
}

function writer(t: Test, directory: string): Writer {
  const program = new URL('./writer.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [...loader, program, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  t.teardown(kill)
  return { pid: child.pid, next: async () => (await lines.next()).value, kill }
}

t.test('after kill -9 of the writer every record it had been told of is there, and nothing is damaged', async (t) => {
  const directory = t.testdir()
  const random = seededRandom(20_261_122)
  let known = 0
  for (let round = 0; round < 3; round += 1) {
    const child = writer(t, directory)
    const most = random.between(3, 150)
    for (let line = await child.next(), i = 0; line !== undefined && i < most; line = await child.next(), i += 1) {
      known = Math.max(known, Number(line))
    }
    await child.kill()
    const ledger = await openLedger({ log: silentLog }, config(directory))
    t.same(ledger.quarantined, [], `round ${round}`)
    const next = ledger.view.nextStatusNumber
    t.ok(next > known, `status ${known} is known in round ${round}`)
    // The writer keeps the last ten tasks and forgets the others, one record after the other: what is there has no holes.
    const expected = [...ledger.view.tasks.values()].map((task) => Number(task.row.group?.tasks[0]?.taskId))
    t.same(
      expected,
      expected.map((_, i) => (expected[0] ?? 0) + i),
      `round ${round}`
    )
    await ledger.close()
  }
})

t.test('another process is refused while the first one lives, and not after its kill -9', async (t) => {
  const directory = t.testdir()
  const child = writer(t, directory)
  await child.next()
  await t.rejects(openLedger({ log: silentLog }, config(directory)), {
    code: 'conflict',
    message: new RegExp(`^another agent \\(pid ${child.pid}\\) owns `)
  })
  await child.kill()
  const ledger = await openLedger({ log: silentLog }, config(directory))
  t.ok(ledger.view.tasks.size > 0)
  await ledger.close()
})
