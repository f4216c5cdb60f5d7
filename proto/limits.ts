import { Fault } from '../base/fault.ts'
import type { TaskDefinition, TaskLimits } from './gen/messages.ts'
import { scalarOf } from './resources.ts'

/** What a task may ask for beyond its resources, and what a node must have for it. Pure. */

type Asking = Pick<TaskDefinition, 'resources' | 'limits'>

/** Least memory in which a program and the runtime that starts it find room, in bytes. */
export const leastMemoryBytes = 4 * 1024 ** 2
const leastMilliCpu = 10
const [leastWeight, mostWeight] = [1, 10_000]
/** The runtime has threads of its own until the program takes their place: with 5 runc cannot always start one. */
const leastPids = 16
/** PID_MAX_LIMIT of 64-bit kernels. */
const mostPids = 4_194_304
const leastBytesPerSecond = 4_096

const say = (bytes: number): string => `${Math.round((bytes / 1024 ** 2) * 10) / 10} MiB`

/** What is wrong with the limits of a task, one sentence each; none where nothing is. */
function* mistakes({ resources, limits }: Asking): Generator<string> {
  const memoryBytes = scalarOf(resources, 'mem')
  const milliCpu = scalarOf(resources, 'cpus')
  if (memoryBytes > 0 && memoryBytes < leastMemoryBytes)
    yield `a memory limit is at least ${say(leastMemoryBytes)}, not ${memoryBytes} bytes`
  if (milliCpu > 0 && milliCpu < leastMilliCpu) yield `a CPU limit is at least ${leastMilliCpu / 1000}, not ${milliCpu / 1000}`
  if (limits === null) return
  yield* negative(limits)
  yield* cpuMistakes(limits, milliCpu)
  yield* memoryMistakes(limits, memoryBytes)
  yield* ioMistakes(limits)
  yield* hardwareMistakes(limits)
  if (limits.pidsMax > 0 && limits.pidsMax < leastPids)
    yield `a limit of processes is at least ${leastPids}, not ${limits.pidsMax}: what starts the program needs some itself`
  if (limits.pidsMax > mostPids) yield `Linux has at most ${mostPids} processes and threads, not ${limits.pidsMax}`
  for (const { pageBytes, maxBytes } of limits.hugePages) {
    const isPower = pageBytes > 0 && Number.isInteger(Math.log2(pageBytes))
    if (!isPower || pageBytes < 65_536) yield `there are no huge pages of ${pageBytes} bytes: give a size such as 2m or 1g`
    else if (maxBytes % pageBytes !== 0) yield `${maxBytes} bytes are not a whole number of huge pages of ${say(pageBytes)}`
  }
}

function* negative(limits: TaskLimits): Generator<string> {
  for (const [name, value] of [
    ...Object.entries(limits),
    ...limits.io.flatMap(Object.entries),
    ...limits.hugePages.flatMap(Object.entries)
  ])
    if (typeof value === 'number' && value < 0 && !(name === 'zswapBytes' && value === -1))
      yield `${name} cannot be ${value}: a limit is 0 or more`
}

function* cpuMistakes({ cpuWeight, cpuBurstUs, cpuIdle, exclusiveCores }: TaskLimits, milliCpu: number): Generator<string> {
  if (cpuWeight > mostWeight) yield `a CPU weight is ${leastWeight} to ${mostWeight}, not ${cpuWeight}`
  if (cpuIdle && cpuWeight > 0) yield 'a task that gets only idle processor time has no CPU weight: leave one of them out'
  if (cpuBurstUs > 0 && milliCpu === 0) yield 'a CPU burst is saved from a CPU limit: give --cpus too'
  if (cpuBurstUs > milliCpu * 100)
    yield `a CPU burst is at most what the limit gives in 100 ms, here ${milliCpu * 100} µs, not ${cpuBurstUs}`
  if (exclusiveCores > 0 && milliCpu !== exclusiveCores * 1000)
    yield `${exclusiveCores} exclusive cores are ${exclusiveCores} CPUs: ask for ${exclusiveCores} CPUs, not ${milliCpu / 1000}`
}

function* memoryMistakes(limits: TaskLimits, memoryBytes: number): Generator<string> {
  const rising = [
    ['memory min', limits.memoryMinBytes],
    ['memory low', limits.memoryLowBytes],
    ['memory high', limits.memoryHighBytes],
    ['the memory limit', memoryBytes]
  ] as const
  const given = rising.filter(([, bytes]) => bytes > 0)
  for (const [i, [name, bytes]] of given.entries()) {
    const next = given[i + 1]
    if (next !== undefined && bytes > next[1]) yield `${name} (${say(bytes)}) is above ${next[0]} (${say(next[1])})`
  }
  if (limits.memoryMinBytes > 0 && memoryBytes === 0)
    yield 'memory that is never taken from a task has to be reserved: give --memory too'
  if (limits.swapBytes > 0 && memoryBytes === 0) yield 'a limit of swap goes with one of memory: give --memory too'
  if (limits.zswapBytes > 0 && limits.swapBytes === 0)
    yield 'what lies compressed in memory is the task’s swap: give --swap too, or --zswap none'
}

function* ioMistakes({ ioWeight, io }: TaskLimits): Generator<string> {
  if (ioWeight > mostWeight) yield `an I/O weight is ${leastWeight} to ${mostWeight}, not ${ioWeight}`
  for (const { path, ...rates } of io) {
    if (!path.startsWith('/')) yield `the disk of an I/O limit is named by an absolute path, not ${JSON.stringify(path)}`
    const { readBytesPerSecond, writeBytesPerSecond } = rates
    if (Object.values(rates).every((rate) => rate === 0)) yield `the I/O limit of ${path} limits nothing: give at least one rate`
    for (const rate of [readBytesPerSecond, writeBytesPerSecond])
      if (rate > 0 && rate < leastBytesPerSecond)
        yield `an I/O rate is at least ${leastBytesPerSecond} bytes a second, not ${rate}`
  }
}

/** cpuset(7), "List format". */
const nodeList = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/

function* hardwareMistakes({ numaNodes, memoryNodes, rdma, misc }: TaskLimits): Generator<string> {
  for (const nodes of [numaNodes, memoryNodes])
    if (nodes !== '' && !nodeList.test(nodes)) yield `NUMA nodes are numbers such as 0 or 0,2-3, not ${JSON.stringify(nodes)}`
  for (const { device, handles, objects } of rdma) {
    if (!isKernelName(device)) yield `an RDMA device has a name such as mlx4_0, not ${JSON.stringify(device)}`
    if (handles === 0 && objects === 0) yield `the limit of ${device} limits nothing: give handles or objects`
  }
  for (const { name } of misc)
    if (!isKernelName(name)) yield `a counted resource has a name such as sev, not ${JSON.stringify(name)}`
}

/** It becomes a word of a line that the kernel reads. */
const isKernelName = (name: string): boolean => /^[\w.-]{1,64}$/.test(name)

/** Throws `Fault('invalid')` with every mistake at once. */
export function checkLimits(definition: Asking): void {
  const wrong = [...mistakes(definition)]
  if (wrong.length > 0) throw new Fault('invalid', wrong.join('; '), { reason: 'task_invalid' })
}

type Needing = Pick<TaskDefinition, 'limits' | 'walls' | 'mounts' | 'runtime'> &
  Partial<Pick<TaskDefinition, 'artifacts' | 'lease'>>

/** Names of the node's capabilities without which the limits would not be kept, or the walls not be as asked for. */
export function capabilitiesFor(task: Needing): readonly string[] {
  const { limits, artifacts = [] } = task
  const forRuntime = task.runtime === 'docker' ? ['runtime.docker'] : []
  const forLease = task.lease == null ? [] : ['lease']
  const forArtifacts = artifacts.length === 0 ? [] : ['task.artifacts']
  const forWalls = [...capabilitiesForWalls(task), ...forRuntime, ...forLease, ...forArtifacts]
  if (limits === null) return forWalls
  const asked: readonly (readonly [string, boolean])[] = [
    ['limit.cpu.weight', limits.cpuWeight > 0],
    ['limit.cpu.burst', limits.cpuBurstUs > 0],
    ['limit.cpu.idle', limits.cpuIdle],
    ['limit.cpu.exclusive', limits.exclusiveCores > 0],
    ['limit.memory.min', limits.memoryMinBytes > 0],
    ['limit.memory.low', limits.memoryLowBytes > 0],
    ['limit.memory.high', limits.memoryHighBytes > 0],
    ['limit.memory.swap', limits.swapBytes > 0],
    ['limit.memory.oom-task', limits.oomPolicy === 'oom_task'],
    ['limit.pids', limits.pidsMax > 0],
    ['limit.memory.zswap', limits.zswapBytes !== 0],
    ['limit.numa', limits.numaNodes !== '' || limits.memoryNodes !== ''],
    ['limit.rdma', limits.rdma.length > 0],
    ['limit.misc', limits.misc.length > 0],
    ['limit.io', limits.io.some(({ path, latencyUs, ...rates }) => Object.values(rates).some((rate) => rate > 0))],
    ['limit.io.latency', limits.io.some(({ latencyUs }) => latencyUs > 0)],
    ['limit.io.weight', limits.ioWeight > 0],
    ['limit.hugepages', limits.hugePages.length > 0]
  ]
  return [...forWalls, ...asked.filter(([, is]) => is).map(([name]) => name)]
}

/** Mounted files keep the owners that they have on the node only where the runtime maps ids. */
function capabilitiesForWalls({
  walls,
  mounts,
  runtime
}: Pick<TaskDefinition, 'walls' | 'mounts' | 'runtime'>): readonly string[] {
  if (walls === null) return []
  if (!walls.userNamespace) return ['task.walls']
  return ['task.walls', 'user-namespace', ...(mounts.length === 0 ? [] : [`mount.idmap.${runtime || 'runc'}`])]
}
