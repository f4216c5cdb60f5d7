import { randomBytes } from 'node:crypto'
import { dials } from './dial.ts'
import type { Load, Measured } from './load-order.ts'
import type { StoreClient } from './store-client.ts'

/** The generator, a process of its own: a closed loop of so many requests in flight, over a few connections to one server. */

const keys = Array.from({ length: 1_000 }, (_, i) => `k${i}`)
const chance = randomBytes(1024 * 1024)

async function measure({ system, port, kind, inFlight, connections, warmUpMs, ms, valueBytes }: Load): Promise<Measured> {
  const clients = await Promise.all(Array.from({ length: Math.min(connections, inFlight) }, () => dials[system](port)))
  let samples: number[] = []
  let total = 0
  let draws = 0
  const over = performance.now() + warmUpMs + ms
  const turn = async (client: StoreClient, slot: number): Promise<void> => {
    draws = (draws + 7919) % (chance.length - valueBytes - 4)
    const key = keys[chance.readUInt32LE(draws) % keys.length] ?? ''
    const startMs = performance.now()
    if (kind === 'write') await client.put(slot, key, chance.subarray(draws, draws + valueBytes))
    else await client.read(key)
    samples.push(performance.now() - startMs)
    total += 1
  }
  const lane = async (client: StoreClient, slot: number): Promise<void> => {
    while (performance.now() < over) await turn(client, slot)
  }
  const lanes = Array.from({ length: inFlight }, (_, slot) => lane(clients[slot % clients.length] as StoreClient, slot))
  const ended = Promise.all(lanes)
  let startMs = 0
  let cpu = process.cpuUsage()
  const warm = new Promise<void>((resolve) => {
    setTimeout(() => {
      samples = []
      startMs = performance.now()
      cpu = process.cpuUsage()
      resolve()
    }, warmUpMs)
  })
  await Promise.all([warm, ended])
  const tookMs = performance.now() - startMs
  const { user, system: kernel } = process.cpuUsage(cpu)
  for (const client of clients) client.close()
  const sorted = Float64Array.from(samples).sort()
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
  return {
    n: sorted.length,
    total,
    perSecond: (sorted.length / tookMs) * 1000,
    p50Ms: at(0.5),
    p90Ms: at(0.9),
    p99Ms: at(0.99),
    clientCores: (user + kernel) / 1000 / tookMs
  }
}

process.on('message', (load: Load) => {
  measure(load).then(
    (measured) => process.send?.(measured),
    (e: unknown) => process.send?.({ failure: e instanceof Error ? e.message : String(e) })
  )
})
