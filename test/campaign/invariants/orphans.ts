import type { Expected } from './expected.ts'
import type { Observation } from './observe.ts'

/** Everything that stands there without an owner: of containers that do not run, and of none at all. Pure. */
export function orphans(expected: Expected, seen: Observation): readonly string[] {
  const running = new Set(expected.tasks.filter((t) => t.wanted === 'running').map((t) => t.containerId))
  const kept = new Set(expected.tasks.filter((t) => t.wanted !== 'forgotten').map((t) => t.containerId))
  for (const id of expected.sandboxes ?? []) kept.add(id)
  const found: string[] = []
  const say = (kind: string, names: readonly string[]): void => void found.push(...names.map((name) => `${kind} ${name}`))
  const strangers = (ids: readonly string[]): readonly string[] => ids.filter((id) => !running.has(id))

  for (const p of seen.processes) {
    // A runtime works for a moment only: one that stays is left over from a launch or an exec.
    const owned =
      p.kind === 'agent' || p.kind === 'child'
        ? expected.agentRuns
        : p.kind === 'watchdog'
          ? seen.leases.some((id) => running.has(id))
          : p.kind !== 'runtime' && running.has(p.containerId)
    // Programs are told by "what is wanted is what runs"; one that no task of ours asked for is told here.
    const told = p.kind === 'program' && expected.tasks.some((t) => t.containerId === p.containerId)
    if (!owned && !told) found.push(`${p.kind === 'monitor' ? 'conmon' : p.kind} with pid ${p.pid}: ${p.command}`)
  }
  // The parent, and the monitors' place in it, stay as long as there is an agent or a container.
  const parentMayStay = expected.agentRuns || running.size > 0
  for (const { path, name } of seen.cgroups) {
    const owned = name === '' || name === 'monitors' ? parentMayStay : running.has(name)
    if (!owned) found.push(`cgroup ${path}`)
  }
  if (!parentMayStay) say('boot directory', seen.bootDirectories)
  say('mount', seen.mounts)
  say('network namespace', seen.networkNamespaces)
  say('link', seen.links)
  say('nft element', seen.nftElements)
  say('loop device', seen.loopDevices)
  say('runtime state', strangers(seen.runtimeStates))
  say('bundle', strangers(seen.bundles))
  say('lease', strangers(seen.leases))
  if (!expected.agentRuns && running.size === 0) say('tracing instance', seen.tracingInstances)
  say('exit file', seen.exitFiles)
  say('discarded directory', seen.trash)
  say('half-written file', seen.drafts)
  for (const [id, names] of seen.sandboxes) {
    if (!kept.has(id)) found.push(`sandbox ${id}${names.length === 0 ? '' : ` with ${names.join(', ')}`}`)
    else if (!running.has(id)) {
      say(
        `file of the ended container ${id.slice(0, 8)}:`,
        names.filter((name) => !outlives(name))
      )
    }
  }
  return found
}

/** What stays of a container that has ended: its log, the node's record of its failure, and the files of its sandbox, its image’s volumes and a pod's folder among them. */
const outlives = (name: string): boolean => /^(files|volumes|pod|recorder\.jsonl|log(\.\d+|\.gaps)?)$/.test(name)
