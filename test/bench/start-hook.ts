import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import Module from 'node:module'
import vm from 'node:vm'

/**
 * Loaded before the agent by `agent-start --trace`, never otherwise: notes what its main thread has used, and when, until it says
 * that it has started. The agent itself knows nothing of it.
 */

export interface Mark {
  /** Of the main thread, on a processor; what other processes do to this machine does not count. */
  readonly cpuMs: number
  /** Since the process began. */
  readonly atMs: number
}

export interface StartNotes {
  readonly marks: Readonly<Record<'hooked' | 'read' | 'made' | 'started', Mark>>
  /** Of each module of Node, with those that it loads itself. */
  readonly builtins: Readonly<Record<string, number>>
  /** Of the calls that start other programs, alone. */
  readonly spawnMs: number
  /** Every time that the agent asked for: its own stages are among them. */
  readonly looks: readonly Mark[]
}

const { readFileSync, writeSync, appendFileSync } = fs
const now = performance.now.bind(performance)
/**
 * Nanoseconds on a processor, of the main thread (kernel documentation, "scheduler/sched-stats"). The file tells what was counted
 * at the last tick; getrusage(2) has the kernel count up to now.
 */
function cpuMs(): number {
  process.cpuUsage()
  return Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ')[0]) / 1e6
}
const mark = (): Mark => ({ cpuMs: cpuMs(), atMs: now() })

const marks: Record<string, Mark> = { hooked: mark() }
const builtins: Record<string, number> = {}
const looks: Mark[] = []
let spawnMs = 0
let depth = 0

vm.Script = class extends vm.Script {
  constructor(...args: ConstructorParameters<typeof vm.Script>) {
    marks['read'] ??= mark()
    super(...args)
    marks['made'] ??= mark()
  }
}

type Spawn = (this: ChildProcess, ...args: unknown[]) => unknown
interface Processes {
  readonly ChildProcess: { readonly prototype: { spawn: Spawn } }
}
let observed = false

/** Not before the agent itself loads the module: that is a part of what is measured. */
function observeSpawn({ ChildProcess: { prototype } }: Processes): void {
  if (observed) return
  observed = true
  const { spawn } = prototype
  prototype.spawn = function noted(...args): unknown {
    const since = cpuMs()
    const answer = spawn.apply(this, args)
    spawnMs += cpuMs() - since
    return answer
  }
}

type Load = (request: string, ...rest: unknown[]) => unknown
const loader = Module as unknown as { _load: Load }
const load = loader._load
loader._load = function noted(this: unknown, request, ...rest): unknown {
  if (depth > 0 || !Module.isBuiltin(request)) return load.call(this, request, ...rest)
  const since = cpuMs()
  depth += 1
  const loaded = load.call(this, request, ...rest)
  depth -= 1
  const name = request.replace(/^node:/, '')
  builtins[name] = (builtins[name] ?? 0) + cpuMs() - since
  if (name === 'child_process') observeSpawn(loaded as Processes)
  return loaded
}

performance.now = () => {
  const look = mark()
  looks.push(look)
  return look.atMs
}

fs.writeSync = ((...args: Parameters<typeof writeSync>) => {
  if (String(args[1]).includes('"agent.started"')) {
    marks['started'] ??= mark()
    appendFileSync(process.env['BENCH_TRACE'] ?? '/dev/null', `${JSON.stringify({ marks, builtins, spawnMs, looks })}\n`)
  }
  return writeSync(...args)
}) as typeof writeSync
