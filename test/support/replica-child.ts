// Counts up four keys for ever and says on stdout which counts are acknowledged. Run by a test, which kills it at any point.
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { ConsensusConfig } from '../../master/consensus/compose.ts'
import { openReplica } from '../../master/consensus/open-replica.ts'

const config = JSON.parse(process.argv[2] ?? '{}') as ConsensusConfig
const replica = await openReplica({ log: silentLog, clock: systemClock }, config)
replica.onFatal((failure) => {
  process.stderr.write(`${failure.message}: ${String(failure.cause)}\n`)
  process.exit(1)
})
const { signal } = new AbortController()
await replica.propose('', 0, { registerFramework: { framework: { frameworkId: 'f' } } }, signal)

async function countUp(key: string): Promise<never> {
  for (;;) {
    const row = replica.state.storeOf('f').get(key)
    const count = Number(Buffer.from(row?.value ?? []).toString()) + 1
    const value = Buffer.from(String(count))
    const conditions = [{ key, version: row?.version ?? 0 }]
    const outcome = await replica.propose(
      '',
      0,
      { storeTransaction: { frameworkId: 'f', conditions, writes: [{ key, value }] } },
      signal
    )
    if (outcome.kind === 'applied' && !outcome.answer.refused) process.stdout.write(`${key} ${count}\n`)
  }
}

await Promise.all(['a', 'b', 'c', 'd'].map(countUp))
