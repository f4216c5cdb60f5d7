import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { arrange } from '../isolators/arrange.ts'
import { guarded, type TellTrouble } from '../isolators/guard.ts'
import type { HostCapability, Isolator } from '../isolators/isolator.ts'
import { loadIsolator } from '../isolators/load.ts'

interface Parts {
  readonly builtin: readonly Isolator[]
  /** What lets a container begin, and so comes after all others. */
  readonly last: readonly Isolator[]
  readonly log: Log
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

interface Config {
  /** npm names or absolute paths. */
  readonly modules: readonly string[]
  /** Below whose `node_modules` the names are looked for. */
  readonly directory: string
}

type Troubles = Readonly<Partial<Record<Parameters<TellTrouble>[1], string>>>

/** One isolator as `hearth node isolators` tells of it. */
export interface WallReport {
  readonly name: string
  /** Absent of one that is Hearth's own. */
  readonly module: string | null
  /** `failing`: the last call of one of its steps went wrong. `not-loaded`: no container can start until it is. */
  readonly state: 'ready' | 'failing' | 'not-loaded'
  /** By step, the last that went wrong and not well since. */
  readonly troubles: Troubles
  /** What it does beyond preparing and cleaning up. */
  readonly steps: readonly string[]
  readonly capabilities: readonly HostCapability[]
}

/** All isolators of an agent, in the order in which they are put up. */
export interface Walls {
  readonly isolators: readonly Isolator[]
  readonly capabilities: readonly HostCapability[]
  report(): readonly WallReport[]
}

const moreSteps = ['isolate', 'watch', 'update', 'usage', 'recover'] as const

/**
 * Loads what the configuration names, checks how the isolators stand to each other, and asks each what it finds on this host. Throws
 * `Fault('invalid')` for an arrangement that cannot be. A module that cannot be loaded keeps no agent from starting, for what runs
 * must go on: it refuses every container that is to be started.
 */
export async function openWalls(parts: Parts, config: Config): Promise<Walls> {
  const troubles = new Map<string, Troubles>()
  const tell: TellTrouble = (isolator, step, what) => {
    const { [step]: before, ...others } = troubles.get(isolator) ?? {}
    if (what !== undefined || before !== undefined) {
      troubles.set(isolator, what === undefined ? others : { ...others, [step]: what })
    }
    if (what !== undefined) {
      parts.log.warn({ isolator, step, trouble: what }, 'isolator.troubled')
    }
  }
  const modules = new Map<string, string>()
  const broken = new Map<string, Isolator>()
  const foreign: Isolator[] = []
  for (const module of config.modules) {
    const isolator = await load(parts, module, config.directory, tell)
    modules.set(isolator.name, module)
    if (isolator.isBroken) broken.set(isolator.name, isolator)
    else foreign.push(isolator)
  }
  const all = [...parts.builtin, ...foreign, ...parts.last]
  // A need of one that could not be loaded is told when it can be.
  const arranged = broken.size === 0 ? arrange(all) : all
  const isolators = [...broken.values(), ...arranged]
  const found = new Map(await Promise.all(isolators.map(async (i) => [i.name, await capabilitiesOf(i)] as const)))
  const report = (): readonly WallReport[] =>
    isolators.map((isolator): WallReport => {
      const { name } = isolator
      const own = troubles.get(name) ?? {}
      return {
        name,
        module: modules.get(name) ?? null,
        state: broken.has(name) ? 'not-loaded' : Object.keys(own).length > 0 ? 'failing' : 'ready',
        troubles: own,
        steps: moreSteps.filter((step) => isolator[step] !== undefined),
        capabilities: found.get(name) ?? []
      }
    })
  return { isolators, capabilities: [...found.values()].flat(), report }
}

type Loaded = Isolator & { readonly isBroken?: true }

async function load(parts: Parts, module: string, directory: string, tell: TellTrouble): Promise<Loaded> {
  try {
    return guarded(await loadIsolator(module, directory, { sleep: parts.sleep }), tell)
  } catch (e) {
    if (!isFault(e)) throw e
    tell(module, 'capabilities', e.message)
    return notLoaded(module, e)
  }
}

/** Comes first, so that nothing is put up before it refuses. */
const notLoaded = (module: string, fault: Error): Loaded => ({
  name: module,
  isBroken: true,
  capabilities: async () => [{ name: 'isolators', present: false, detail: fault.message }],
  prepare: () => Promise.reject(new Fault('unavailable', fault.message, { reason: 'launch_failed' }, fault)),
  // What it made before its agent's restart only it can remove.
  cleanup: ({ made }) => (made.some(({ kind }) => kind === 'other') ? Promise.reject(fault) : Promise.resolve())
})

/** Its trouble is told by the guard; until it has answered it refuses every container. */
async function capabilitiesOf(isolator: Isolator): Promise<readonly HostCapability[]> {
  try {
    return await isolator.capabilities(new AbortController().signal)
  } catch (e) {
    if (!isFault(e) && errnoOf(e) === undefined) throw e
    return [{ name: `isolator.${isolator.name}`, present: false, detail: e instanceof Error ? e.message : String(e) }]
  }
}
