import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { arrange } from '../../isolators/arrange.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Isolator, IsolatorRequest, MadeObject } from '../../isolators/isolator.ts'
import { unfitPart } from '../../isolators/part.ts'

export interface IsolatorUnderTest {
  readonly isolator: Isolator
  /** Another one, as the next agent of the same host has it. */
  again(): Promise<Isolator>
  /** A container that nobody has seen before. */
  request(): IsolatorRequest
  /** Parent of the containers' cgroups; absent where it makes none. */
  readonly cgroupParent?: string
  /** Folders outside the sandbox and the bundle in which it makes something for each container. */
  readonly folders?: readonly string[]
}

/** Each call gives a host of its own; what it opens is closed by `t.teardown`. */
export type MakeIsolator = (t: Test) => Promise<IsolatorUnderTest>

const never = (): AbortSignal => new AbortController().signal

/** Every isolator must pass this, ours or a stranger's (isolators/isolator.ts has the rules). */
export function isolatorContract(t: Test, make: MakeIsolator): void {
  start(t, make)
  preparing(t, make)
  ending(t, make)
  running(t, make)
}

function start(t: Test, make: MakeIsolator): void {
  t.test('it has a name, and stands where it says among the others', async (t) => {
    const { isolator } = await make(t)
    const others = [...(isolator.place?.needs ?? [])].map((name) => ({ name }))
    t.same(arrange([...others, isolator]).at(-1)?.name, isolator.name)
  })

  t.test('it tells the same of the host each time it is asked', async (t) => {
    const { isolator } = await make(t)
    const told = await isolator.capabilities(never())
    for (const { name, detail } of told) t.ok(name !== '' && detail !== '', `${name}: ${detail}`)
    t.strictSame(await isolator.capabilities(never()), told)
  })
}

function preparing(t: Test, make: MakeIsolator): void {
  t.test('its part of the bundle is sound, and the same when it is asked again', async (t) => {
    const { isolator, request } = await make(t)
    const container = frozen(request())
    const part = await prepared(isolator, container)
    t.equal(unfitPart(part), undefined)
    t.strictSame(await prepared(isolator, container), part)
    await isolator.cleanup(container, never())
  })

  t.test('a launch that is given up leaves nothing', async (t) => {
    const host = await make(t)
    const container = frozen(host.request())
    mkdirSync(container.sandboxDir, { recursive: true })
    await host.isolator.prepare(container, AbortSignal.abort(new Error('given up'))).catch(() => undefined) // either is allowed
    await host.isolator.cleanup(container, never())
    t.strictSame(remains(host, container), [])
  })
}

function ending(t: Test, make: MakeIsolator): void {
  t.test('clean-up of what was never prepared is harmless, twice', async (t) => {
    const host = await make(t)
    const container = frozen(host.request())
    await host.isolator.cleanup(container, never())
    await host.isolator.cleanup(container, never())
    t.strictSame(remains(host, container), [])
  })

  t.test('clean-up leaves nothing of a container, and may be repeated', async (t) => {
    const host = await make(t)
    const container = frozen(host.request())
    await prepared(host.isolator, container)
    await host.isolator.cleanup(container, never())
    await host.isolator.cleanup(container, never())
    t.strictSame(remains(host, container), [])
  })

  t.test('the next agent cleans up what this one made, and knows it by its id alone', async (t) => {
    const host = await make(t)
    const made: MadeObject[] = []
    const journal: IsolatorRequest['journal'] = async (object) => void made.push(object)
    const container = frozen({ ...host.request(), journal })
    await prepared(host.isolator, container)
    const bare = frozen({ ...bareOf(container), made })
    await (await host.again()).cleanup(bare, never())
    t.strictSame(remains(host, container), [])
  })

  t.test('clean-up of one container leaves the next one alone', async (t) => {
    const host = await make(t)
    const [one, two] = [frozen(host.request()), frozen(host.request())]
    await prepared(host.isolator, one)
    await prepared(host.isolator, two)
    const before = remains(host, two)
    await host.isolator.cleanup(one, never())
    t.strictSame(remains(host, two), before)
    await host.isolator.cleanup(two, never())
    t.strictSame(remains(host, two), [])
  })
}

function running(t: Test, make: MakeIsolator): void {
  t.test('a watch ends with the signal’s reason', async (t) => {
    const { isolator, request } = await make(t)
    const [container, over, why] = [frozen(request()), new AbortController(), new Error('over')]
    await prepared(isolator, container)
    const watching = isolator.watch?.(container, over.signal)
    over.abort(why)
    if (isolator.watch === undefined) t.equal(watching, undefined)
    else await t.rejects(Promise.resolve(watching), why)
    await isolator.cleanup(container, never())
  })

  t.test('an agent that has never seen a container takes it over, and cleans it up', async (t) => {
    const host = await make(t)
    const container = frozen(host.request())
    await prepared(host.isolator, container)
    const next = await host.again()
    await next.recover?.(bareOf(container), never())
    await next.recover?.(bareOf(container), never())
    await next.cleanup(bareOf(container), never())
    t.strictSame(remains(host, container), [])
  })

  t.test('usage is made of numbers', async (t) => {
    const { isolator, request } = await make(t)
    const container = frozen(request())
    await prepared(isolator, container)
    const usage = (await isolator.usage?.(container, never())) ?? {}
    t.strictSame(
      Object.entries(usage).filter(([, value]) => !Number.isFinite(value)),
      []
    )
    await isolator.cleanup(container, never())
  })
}

function prepared(isolator: Isolator, container: IsolatorRequest) {
  mkdirSync(container.sandboxDir, { recursive: true })
  mkdirSync(join(container.bundleDir, 'root'), { recursive: true })
  return isolator.prepare(container, never())
}

/** What an agent still knows of a container after its own restart. */
const bareOf = (request: IsolatorRequest): IsolatorRequest => ({
  ...request,
  layers: [],
  imageMounts: [],
  mounts: [],
  process: { ...request.process, arguments: [], environment: [] }
})

/** Nothing of a request may be changed by who gets it. */
function frozen(request: IsolatorRequest): IsolatorRequest {
  for (const value of Object.values(request)) if (typeof value === 'object') Object.freeze(value)
  return Object.freeze(request)
}

/** What a container has outside its bundle, but for what outlives it by intent: its log and the files of its sandbox. */
function remains(
  { cgroupParent, folders = [] }: IsolatorUnderTest,
  { containerId, sandboxDir }: IsolatorRequest
): readonly string[] {
  const cgroups = cgroupParent === undefined ? [] : cgroupDirectories(readCgroupLayout(), join(cgroupParent, containerId))
  const inSandbox = existsSync(sandboxDir) ? readdirSync(sandboxDir).filter((name) => name !== 'files' && name !== 'log') : []
  const outside = folders.flatMap((folder) => (existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []))
  return [...cgroups.filter((path) => existsSync(path)), ...inSandbox, ...outside.filter((path) => path.includes(containerId))]
}
