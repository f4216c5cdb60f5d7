// One of several masters. Its clients write and swap where it leads, and read wherever it is, and say on stdout when each began and
// ended, by a clock that is the same for all processes of the machine. Run by a test, which kills it at any point.
import { setMaxListeners } from 'node:events'
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
setMaxListeners(0, signal) // every client's pause listens to it

let made = 0
const nowUs = (): number => Number(process.hrtime.bigint() / 1000n)
const say = (...words: readonly (string | number)[]): void => void process.stdout.write(`${words.join(' ')}\n`)
const rowOf = (key: string) => replica.state.storeOf('f').get(key)
const numberAt = (key: string): number => Number(Buffer.from(rowOf(key)?.value ?? []).toString())

/** No value is written twice: a read tells whose write it saw. */
function nextNumber(): number {
  made += 1
  return process.pid * 100_000 + made
}

async function write(key: string, isSwap: boolean): Promise<void> {
  const value = nextNumber()
  const conditions = isSwap ? [{ key, version: rowOf(key)?.version ?? 0 }] : []
  say('call', value, nowUs(), key, isSwap ? 'swap' : 'write', isSwap ? numberAt(key) : 0)
  const writes = [{ key, value: Buffer.from(String(value)) }]
  const outcome = await replica.propose('', 0, { storeTransaction: { frameworkId: 'f', conditions, writes } }, signal)
  if (outcome.kind === 'unknown') return
  const { refused, code } = outcome.kind === 'applied' ? outcome.answer : { refused: true, code: 'not-taken' }
  if (!refused || code === 'conflict') say('return', value, nowUs(), refused ? code : 'done')
  else say('never', value)
}

async function read(key: string): Promise<void> {
  const number = nextNumber()
  say('call', number, nowUs(), key, 'read', 0)
  try {
    await replica.read(AbortSignal.timeout(1_000))
    say('return', number, nowUs(), numberAt(key))
  } catch {
    say('never', number)
  }
}

async function writeOn(key: string): Promise<never> {
  for (let i = 0; ; i += 1) {
    if (replica.leadership.leading) await write(key, i % 3 === 0)
    await systemClock.sleep(2, signal)
  }
}

async function readOn(key: string): Promise<never> {
  for (;;) {
    await read(key)
    await systemClock.sleep(5, signal)
  }
}

replica.leadership.watch(({ kind, term }) => {
  if (kind === 'gained') void replica.propose('', 0, { registerFramework: { framework: { frameworkId: 'f' } } }, signal)
  say(kind, term)
}, signal)
await Promise.all(['a', 'b', 'c', 'd'].flatMap((key) => [writeOn(key), writeOn(key), readOn(key)]))
