import { within } from '../base/clock.ts'
import { Fault, isFaultCode } from '../base/fault.ts'
import type { HostCapability, Isolator, IsolatorRequest, Limitation, MadeObject, Usage } from './isolator.ts'
import { unfitPart } from './part.ts'

type Step = 'capabilities' | 'prepare' | 'isolate' | 'update' | 'usage' | 'recover' | 'cleanup'

/** How long a step may take, in milliseconds. */
export type Deadlines = Readonly<Record<Step, number>>

export const deadlines: Deadlines = {
  capabilities: 5_000,
  prepare: 30_000,
  isolate: 10_000,
  update: 10_000,
  usage: 5_000,
  recover: 10_000,
  cleanup: 30_000
}

/** What went wrong in an isolator, in one sentence; and that a step has gone well again. */
export type TellTrouble = (isolator: string, step: Step | 'watch', what: string | undefined) => void

/**
 * Around an isolator that is not ours: whatever it does, its caller gets an answer of the right shape within the deadline, or a Fault
 * that names it. A step that comes back after its deadline is not heard; where it was `prepare`, what it made meanwhile is cleaned up.
 */
export function guarded(isolator: Isolator, tell: TellTrouble, limits: Deadlines = deadlines): Isolator {
  const name = String(isolator.name)
  const run = async <T>(
    step: Step,
    begin: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
    late?: () => void
  ): Promise<T> => {
    const patience = within(limits[step], signal)
    try {
      const answer = await answered(begin, patience, late)
      tell(name, step, undefined)
      return answer
    } catch (e) {
      signal.throwIfAborted()
      const fault = faultOf(name, step, e, patience.aborted ? limits[step] : undefined)
      tell(name, step, fault.message)
      throw fault
    }
  }
  const never = (): AbortSignal => new AbortController().signal
  const inward = (request: IsolatorRequest): IsolatorRequest => ({ ...request, made: ownOf(name, request.made) })
  const clean = (request: IsolatorRequest): void => {
    run('cleanup', (s) => isolator.cleanup(inward(request), s), never()).catch(() => undefined) // told
  }
  const { isolate, update, usage, recover, watch } = isolator
  let isReady = false
  return {
    name,
    ...(isolator.place === undefined ? {} : { place: isolator.place }),
    capabilities: async (signal) => {
      const sound = await run('capabilities', async (s) => soundCapabilities(await isolator.capabilities(s)), signal)
      isReady = true
      return sound
    },
    async prepare(request, signal) {
      if (!isReady) await this.capabilities(signal)
      const journal: IsolatorRequest['journal'] = ({ id }) => request.journal({ kind: 'other', id: `${name}:${String(id)}` })
      const prepare = async (s: AbortSignal) => {
        const part: unknown = await isolator.prepare({ ...inward(request), journal }, s)
        const unfit = unfitPart(part)
        if (unfit !== undefined) throw new Error(unfit)
        return structuredClone(part) as Awaited<ReturnType<Isolator['prepare']>>
      }
      return run('prepare', prepare, signal, () => clean(request))
    },
    ...(isolate && {
      isolate: (request, pid, signal) => run('isolate', (s) => isolate.call(isolator, inward(request), pid, s), signal)
    }),
    ...(update && { update: (request, signal) => run('update', (s) => update.call(isolator, inward(request), s), signal) }),
    ...(usage && {
      usage: (request, signal) => run('usage', async (s) => soundUsage(await usage.call(isolator, inward(request), s)), signal)
    }),
    ...(recover && { recover: (request, signal) => run('recover', (s) => recover.call(isolator, inward(request), s), signal) }),
    ...(watch && {
      watch: async (request, signal) => {
        try {
          return soundLimitation(name, await answered((s) => watch.call(isolator, inward(request), s), signal))
        } catch (e) {
          signal.throwIfAborted()
          const fault = faultOf(name, 'watch', e, undefined)
          tell(name, 'watch', fault.message)
          throw fault
        }
      }
    }),
    cleanup: (request, signal) => run('cleanup', (s) => isolator.cleanup(inward(request), s), signal)
  }
}

/** Objects of a stranger stand in the ledger as `isolator:id`. */
const ownOf = (name: string, made: readonly MadeObject[]): readonly MadeObject[] =>
  made.flatMap(({ kind, id }) => (kind === 'other' && id.startsWith(`${name}:`) ? [{ kind, id: id.slice(name.length + 1) }] : []))

/** Rejects with the signal's reason as soon as it aborts, whether the other side listens to it or not. */
function answered<T>(begin: (signal: AbortSignal) => Promise<T>, signal: AbortSignal, late?: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const stop = (): void => {
      isOver = true
      reject(signal.reason as Error)
    }
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    const settled = (): void => {
      signal.removeEventListener('abort', stop)
      if (isOver) late?.()
    }
    // An isolator may throw before it has a promise to give.
    new Promise<T>((begun) => begun(begin(signal))).then(
      (value) => {
        settled()
        resolve(value)
      },
      (e: unknown) => {
        settled()
        reject(e as Error)
      }
    )
  })
}

const longestWords = 500

function faultOf(name: string, step: string, e: unknown, lateMs: number | undefined): Fault {
  if (lateMs !== undefined) {
    const say = `isolator ${name} did not answer ${step} within ${lateMs / 1_000} s`
    return new Fault('timeout', say, { reason: 'stage_timeout', isolator: name })
  }
  const words = (e instanceof Error ? e.message : String(e)).slice(0, longestWords)
  const code = e instanceof Error && 'code' in e && typeof e.code === 'string' && isFaultCode(e.code) ? e.code : 'unavailable'
  return new Fault(code, `isolator ${name}, ${step}: ${words}`, { reason: 'launch_failed', isolator: name }, e)
}

function soundCapabilities(given: unknown): readonly HostCapability[] {
  const isSound = (c: unknown): c is HostCapability => {
    const { name, present, detail } = (c ?? {}) as Partial<Record<keyof HostCapability, unknown>>
    return (
      typeof name === 'string' &&
      /^[a-z][a-z0-9.-]{0,127}$/.test(name) &&
      typeof present === 'boolean' &&
      typeof detail === 'string'
    )
  }
  if (Array.isArray(given) && given.length <= 100 && given.every(isSound)) {
    return given.map(({ name, present, detail }) => ({ name, present, detail: detail.slice(0, longestWords) }))
  }
  throw new Error('gave something that is no list of {name, present, detail}')
}

const limitNames: readonly unknown[] = ['memory', 'disk', 'pids', 'other']

function soundLimitation(isolator: string, given: unknown): Limitation {
  const { limit, message } = (given ?? {}) as { readonly limit?: unknown; readonly message?: unknown }
  if (!limitNames.includes(limit) || typeof message !== 'string') throw new Error('gave something that is no {limit, message}')
  return { limit: limit as Limitation['limit'], message: `isolator ${isolator}: ${message.slice(0, longestWords)}` }
}

function soundUsage(given: unknown): Usage {
  if (typeof given !== 'object' || given === null) throw new Error('gave no usage')
  const numbers = Object.entries(given).filter(([, value]) => typeof value === 'number' && Number.isFinite(value))
  return Object.fromEntries(numbers)
}
