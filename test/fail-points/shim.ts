import { appendFileSync, readFileSync } from 'node:fs'
import { Fault } from '../../base/fault.ts'
import type { Shape } from './outside.ts'

/**
 * What every outside call of a program under test goes through. Which fault strikes where is told by the environment, which the
 * program's own children inherit:
 *
 *   HEARTH_FAIL_RECORD   a file; every hit is appended as one line, and `fired NAME` where the fault struck
 *   HEARTH_FAIL_POINT    the point; `HEARTH_FAIL_HIT` the number of the hit (1), `HEARTH_FAIL_FAULT` the fault
 *   HEARTH_FAIL_ARMED    hits count from the start; without it from the first SIGUSR2, which is answered by a line `armed`
 *   HEARTH_FAIL_AGENT    set by the agent for its children: whom `kill` ends
 */
export type FailFault = 'kill' | 'kill-after' | 'ENOSPC' | 'EIO' | 'delay'

type Call = (...args: unknown[]) => unknown

const { env } = process
const recordPath = env['HEARTH_FAIL_RECORD']
const wanted = env['HEARTH_FAIL_POINT']
const wantedHit = Number(env['HEARTH_FAIL_HIT'] ?? '1')
const fault = env['HEARTH_FAIL_FAULT'] as FailFault | undefined
const delayMs = Number(env['HEARTH_FAIL_DELAY_MS'] ?? '10000')
let isArmed = env['HEARTH_FAIL_ARMED'] === '1'
let hits = 0

const note = (line: string): void => {
  if (recordPath !== undefined) appendFileSync(recordPath, `${line}\n`)
}

// The first program of the family is the agent.
env['HEARTH_FAIL_AGENT'] ??= String(process.pid)
if (recordPath !== undefined && !isArmed) {
  process.once('SIGUSR2', () => {
    isArmed = true
    env['HEARTH_FAIL_ARMED'] = '1'
    note('armed')
  })
}

/** Whether the fault strikes at this hit; notes every hit where nothing else was asked for. */
function strikes(name: string): boolean {
  if (!isArmed) return false
  if (wanted === undefined) note(name)
  if (name !== wanted) return false
  hits += 1
  if (hits !== wantedHit || hasFired(name)) return false
  note(`fired ${name}`)
  return true
}

/** A fault strikes once in the whole family: a child that is started anew counts from the start. */
const hasFired = (name: string): boolean =>
  recordPath !== undefined && readFileSync(recordPath, 'utf8').split('\n').includes(`fired ${name}`)

/** Ends the agent as the kernel would; nothing that stands behind the call is executed in this process. */
function die(): void {
  process.kill(Number(env['HEARTH_FAIL_AGENT']), 'SIGKILL')
  // A child of the agent goes on without it.
  while (env['HEARTH_FAIL_AGENT'] === String(process.pid)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000)
}

const errnos = { ENOSPC: 28, EIO: 5 } as const

function failure(code: keyof typeof errnos, syscall: string): NodeJS.ErrnoException {
  const text = code === 'EIO' ? 'i/o error' : 'no space left on device'
  return Object.assign(new Error(`${code}: ${text}, ${syscall} (fail point)`), { code, errno: -errnos[code], syscall })
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'

/** The call has its effect, then the agent dies before it hears of it. */
function callAndDie(target: Call, self: unknown, args: unknown[]): unknown {
  const last = args.at(-1)
  if (typeof last === 'function') return target.apply(self, [...args.slice(0, -1), afterDeath(last as Call)])
  const result = target.apply(self, args)
  if (isThenable(result)) return result.then(afterDeath(), afterDeath(rethrow))
  die()
  return result
}

/** What a child goes on with. */
const afterDeath =
  (then: Call = (value) => value): Call =>
  (...answer) => {
    die()
    return then(...answer)
  }

const rethrow: Call = (e) => {
  throw e as Error
}

function callLate(shape: Shape, target: Call, self: unknown, args: unknown[]): unknown {
  if (shape === 'promise' || shape === 'exec' || shape === 'execa') {
    return new Promise((resolve) => setTimeout(resolve, delayMs)).then(() => target.apply(self, args))
  }
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delayMs)
  return target.apply(self, args)
}

interface Ends {
  destroy(error: Error): unknown
  emit(event: string, error: Error): unknown
}

function fail(shape: Shape, error: NodeJS.ErrnoException, target: Call, self: unknown, args: unknown[]): unknown {
  switch (shape) {
    case 'sync':
      throw error
    case 'promise':
      return Promise.reject(error)
    case 'exists':
      return false
    case 'callback':
      return process.nextTick(args.at(-1) as Call, error)
    case 'emitter': {
      const stream = target.apply(self, args) as Ends
      process.nextTick(() => stream.destroy(error))
      return stream
    }
    case 'send':
      ;(self as Ends).destroy(error)
      return error.syscall === 'write' ? false : self
    case 'listen':
      process.nextTick(() => (self as Ends).emit('error', error))
      return self
    case 'execa':
      return Promise.resolve({ failed: true, exitCode: undefined, signal: undefined, cause: error, stdout: '', stderr: '' })
    case 'exec':
      return Promise.reject(new Fault('unavailable', `${String(args[0])} cannot be run: ${error.code}`, {}, error))
    case 'release':
      return target.apply(self, args)
  }
}

function through(name: string, shape: Shape, operation: string, target: Call, self: unknown, args: unknown[]): unknown {
  if (!strikes(name)) return target.apply(self, args)
  switch (fault) {
    case 'kill':
      die()
      return target.apply(self, args)
    case 'kill-after':
      return callAndDie(target, self, args)
    case 'delay':
      return callLate(shape, target, self, args)
    case 'EIO':
    case 'ENOSPC':
      return fail(shape, failure(fault, operation), target, self, args)
    default:
      return target.apply(self, args)
  }
}

/** A function, led through the point. What `promisify` reads off it is carried over. */
function f(name: string, shape: Shape, target: Call): Call {
  const led = (...args: unknown[]): unknown => through(name, shape, target.name, target, undefined, args)
  for (const key of Object.getOwnPropertySymbols(target)) Object.defineProperty(led, key, { value: Reflect.get(target, key) })
  return led
}

/** A method; undefined where an optional chain ends at its object. */
function m(name: string, shape: Shape, self: Readonly<Record<string, Call>> | null | undefined, key: string): Call | undefined {
  const target = self?.[key]
  if (target === undefined) return undefined
  return (...args) => through(name, shape, key, target, self, args)
}

Object.assign(globalThis, { __hearthFail: { f, m } })
