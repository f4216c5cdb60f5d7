// One of several masters. Where it leads it counts up four keys for ever, and says on stdout which counts are acknowledged. Run by a
// test, which kills it at any point.
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { openWithPeers } from '../../master/peers/open-peers.ts'

const config = JSON.parse(process.argv[2] ?? '{}') as Parameters<typeof openWithPeers>[1]
const replica = await openWithPeers({ log: silentLog, clock: systemClock }, config)
replica.onFatal((failure) => {
  process.stderr.write(`${failure.message}: ${String(failure.cause)}\n`)
  process.exit(1)
})
process.on('SIGTERM', () => void replica.close().then(() => process.exit(0)))
const { signal } = new AbortController()

async function countUp(key: string): Promise<never> {
  for (;;) {
    if (!replica.leadership.leading) {
      await systemClock.sleep(2, signal)
      continue
    }
    const row = replica.state.storeOf('f').get(key)
    const count = Number(Buffer.from(row?.value ?? []).toString()) + 1
    const conditions = [{ key, version: row?.version ?? 0 }]
    const writes = [{ key, value: Buffer.from(String(count)) }]
    const outcome = await replica.propose('', 0, { storeTransaction: { frameworkId: 'f', conditions, writes } }, signal)
    if (outcome.kind === 'applied' && !outcome.answer.refused) process.stdout.write(`${key} ${count}\n`)
  }
}

replica.leadership.watch(({ kind, term }) => {
  if (kind === 'gained') void replica.propose('', 0, { registerFramework: { framework: { frameworkId: 'f' } } }, signal)
  process.stdout.write(`${kind} ${term}\n`)
}, signal)
await Promise.all(['a', 'b', 'c', 'd'].map(countUp))
