import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../../base/fault.ts'
import type { Bench } from '../bench.ts'
import { eventually } from '../eventually.ts'
import { dials } from './dial.ts'
import { type Ensemble, leaderOf, type Member } from './ensemble.ts'
import type { StoreClient, System } from './store-client.ts'

/** Milliseconds from the signal to the first acknowledged write that was started after it. */
export interface Failovers {
  /** By clients that are connected to the servers that are left. */
  readonly survivors: number[]
  /** By one that was connected to the leader, and has to find another first; not where the leader is only stopped. */
  readonly orphans: number[]
}

const everyMs = 5
const patienceMs = 30_000
const settleMs = 500

/** Kills, or stops, whoever leads, so many times; each comes back before the next. */
export async function failOver(bench: Bench, ensemble: Ensemble, times: number, how: 'kill' | 'freeze'): Promise<Failovers> {
  const result: Failovers = { survivors: [], orphans: [] }
  for (let i = 0; i < times; i += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`${ensemble.system}: ${how} ${i + 1} of ${times}`)
    const leader = await leaderOf(ensemble, patienceMs)
    const others = ensemble.members.filter((member) => member !== leader)
    await Promise.all(ensemble.members.map((member) => answers(ensemble.system, member)))
    await pause(settleMs)
    const probes = others.map((member) => new Prober(ensemble.system, [member.port]))
    const orphan = new Prober(ensemble.system, [leader.port, ...others.map((member) => member.port)])
    await eventually('a connection to each server', () => probes.every((probe) => probe.isConnected))
    await orphan.first()
    const startMs = performance.now()
    if (how === 'kill') process.kill(leader.pid, 'SIGKILL')
    else process.kill(leader.pid, 'SIGSTOP')
    const last = orphan.first()
    const atMs = (probed: readonly Promise<number>[]): Promise<number> => inTime(bench, ensemble.system, probed)
    result.survivors.push((await atMs(probes.map((probe) => probe.first()))) - startMs)
    if (how === 'kill') result.orphans.push((await atMs([last])) - startMs)
    for (const probe of [...probes, orphan]) probe.close()
    await revive(leader, how)
  }
  return result
}

/** The first of them; rejects where nobody can write for too long, and where the bench is stopped. */
async function inTime(bench: Bench, system: System, probed: readonly Promise<number>[]): Promise<number> {
  const over = AbortSignal.timeout(patienceMs)
  const stop = new Promise<never>((_, reject) => {
    const why = (): void =>
      reject(new Fault('timeout', `${system}: nobody could write for ${patienceMs} ms after its leader had gone`))
    over.addEventListener('abort', why, { once: true })
    bench.signal.addEventListener('abort', () => reject(bench.signal.reason as Error), { once: true })
  })
  return await Promise.race([...probed, stop])
}

async function revive(leader: Member, how: 'kill' | 'freeze'): Promise<void> {
  if (how === 'freeze') process.kill(leader.pid, 'SIGCONT')
  else {
    await leader.kill()
    leader.start()
  }
}

/** A server is back when it takes connections: whether it can serve is for the settling time after it. */
async function answers(system: System, member: Member): Promise<void> {
  await eventually(
    `${system} to listen again`,
    async () => {
      try {
        const client = await dials[system](member.port)
        client.close()
        return true
      } catch {
        return false // not yet: asked again
      }
    },
    patienceMs
  )
}

const value = new Uint8Array(256)

/** Writes again and again, through whichever of its servers it is connected to, from the first one on. */
class Prober {
  readonly #system: System
  readonly #ports: readonly number[]
  #isOver = false
  #client: StoreClient | undefined
  #slot = 0
  #waiting: ((atMs: number) => void)[] = []

  constructor(system: System, ports: readonly number[]) {
    this.#system = system
    this.#ports = ports
    void this.#stayConnected()
    void this.#write()
  }

  get isConnected(): boolean {
    return this.#client !== undefined
  }

  /** When the first write that is started from now on is acknowledged. */
  first(): Promise<number> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  close(): void {
    this.#isOver = true
    this.#client?.close()
  }

  async #stayConnected(): Promise<void> {
    for (let at = 0; !this.#isOver; at += 1) {
      try {
        const client = await dials[this.#system](this.#ports[at % this.#ports.length] ?? 0)
        if (this.#isOver) client.close()
        this.#client = client
        await client.ended
        this.#client = undefined
      } catch {
        await pause(everyMs) // nobody there: the next one is asked
      }
    }
  }

  /** Does not wait for one answer before it asks again: an answer that is lost must not hold up the others. */
  async #write(): Promise<void> {
    for (; !this.#isOver; await pause(everyMs)) {
      const client = this.#client
      if (client === undefined || this.#waiting.length === 0) continue
      const waiting = [...this.#waiting]
      this.#slot += 1
      client.put(this.#slot, 'failover', value).then(
        () => {
          const atMs = performance.now()
          this.#waiting = this.#waiting.filter((one) => !waiting.includes(one))
          for (const resolve of waiting) resolve(atMs)
        },
        // Refused or lost: another one is on its way, from here to the next server where there is a choice.
        () => this.#ports.length > 1 && client.close()
      )
    }
  }
}
