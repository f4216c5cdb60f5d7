import { type ChildProcess, fork } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../../base/fault.ts'
import type { Bench } from '../bench.ts'
import { processCpuMs, rssMb } from '../machine.ts'
import { end } from '../programs.ts'
import { type Ensemble, leaderOf } from './ensemble.ts'
import { type Failovers, failOver } from './failover.ts'
import type { Load, Measured } from './load-order.ts'
import type { System } from './store-client.ts'

/** One thing that is measured of one system, with what it gave: all of them make up a run, and each can be resumed by itself. */
export interface Part {
  readonly system: System
  readonly name: string
  readonly load?: Measured & { readonly serverCpuUs: number }
  readonly failovers?: Failovers
  /** Of all its members. */
  readonly rssMb?: readonly number[]
}

/** What was measured so far; with a file, across several calls. */
export class Parts {
  readonly #file: string | undefined
  readonly #all: Part[] = []

  constructor(file: string | undefined) {
    this.#file = file
    if (file === undefined || !existsSync(file)) return
    for (const line of readFileSync(file, 'utf8').split('\n')) if (line !== '') this.#all.push(JSON.parse(line) as Part)
  }

  of(system: System, name: string): Part | undefined {
    return this.#all.find((part) => part.system === system && part.name === name)
  }

  add(part: Part): void {
    this.#all.push(part)
    if (this.#file !== undefined) appendFileSync(this.#file, `${JSON.stringify(part)}\n`)
  }
}

export interface Plan {
  readonly seconds: number
  readonly kills: number
  readonly freezes: number
}

export const loads: readonly { readonly name: string; readonly kind: Load['kind']; readonly inFlight: number }[] = [
  { name: 'write, one at a time', kind: 'write', inFlight: 1 },
  { name: 'write, 64 in flight', kind: 'write', inFlight: 64 },
  { name: 'write, 256 in flight', kind: 'write', inFlight: 256 },
  { name: 'read, 64 in flight', kind: 'read', inFlight: 64 },
  { name: 'read, 256 in flight', kind: 'read', inFlight: 256 }
]

export const idlePart = 'idle'
export const afterPart = 'after load'
export const killPart = 'leader killed'
export const freezePart = 'leader stopped'

const warmUpMs = 1_500
const settleMs = 3_000

/** What of this system is still to be measured. */
export function missingOf(parts: Parts, system: System, { kills, freezes }: Plan): readonly string[] {
  const isWire = system === 'hearth-http2'
  const all = [
    ...(isWire ? [] : [idlePart]),
    ...loads.map(({ name }) => name),
    ...(isWire ? [] : [afterPart]),
    ...(isWire || kills === 0 ? [] : [killPart]),
    ...(isWire || freezes === 0 ? [] : [freezePart])
  ]
  return all.filter((name) => parts.of(system, name) === undefined)
}

/** In their order, against servers that were started for it. */
export async function measureParts(
  bench: Bench,
  ensemble: Ensemble,
  wanted: readonly string[],
  plan: Plan,
  parts: Parts
): Promise<void> {
  const { system, members } = ensemble
  await leaderOf(ensemble)
  await pause(settleMs)
  const rss = (): readonly number[] => members.map(({ pid }) => rssMb(pid))
  for (const name of wanted) {
    bench.signal.throwIfAborted()
    bench.progress(`${system}: ${name}`)
    const load = loads.find((one) => one.name === name)
    if (name === idlePart || name === afterPart) parts.add({ system, name, rssMb: rss() })
    else if (load !== undefined) parts.add({ system, name, load: await underLoad(bench, ensemble, load, plan) })
    else {
      const [times, how] = name === killPart ? ([plan.kills, 'kill'] as const) : ([plan.freezes, 'freeze'] as const)
      parts.add({ system, name, failovers: await failOver(bench, ensemble, times, how) })
    }
  }
}

async function underLoad(
  bench: Bench,
  ensemble: Ensemble,
  load: Pick<Load, 'kind' | 'inFlight'>,
  plan: Plan
): Promise<NonNullable<Part['load']>> {
  const { port } = await leaderOf(ensemble)
  const child = fork(join(import.meta.dirname, 'raft-load.mjs'), [], { env: { PATH: process.env['PATH'] }, detached: true })
  const stop = bench.cleanup.add('the generator', () => end(child))
  const { kind, inFlight } = load
  const { system } = ensemble
  const cpuMs = (): number => ensemble.members.reduce((sum, { pid }) => sum + processCpuMs(pid), 0)
  const beforeMs = cpuMs()
  child.send({ system, port, kind, inFlight, connections: 4, warmUpMs, ms: plan.seconds * 1_000, valueBytes: 256 } satisfies Load)
  const measured = await answerOf(child, `${system} ${kind}`)
  const serverCpuUs = ((cpuMs() - beforeMs) * 1_000) / measured.total
  await stop()
  return { ...measured, serverCpuUs }
}

function answerOf(child: ChildProcess, what: string): Promise<Measured> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Fault('unavailable', `${what}: the generator ended with ${code}`)))
    child.once('message', (answer: Measured | { readonly failure: string }) => {
      if ('failure' in answer) reject(new Fault('unavailable', `${what}: ${answer.failure}`))
      else resolve(answer)
    })
  })
}
