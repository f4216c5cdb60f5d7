import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { Limits } from '../isolator.ts'
import { type CpusetClaim, formatCores, parseCores, planCpusets } from './cpuset.ts'
import { coresOf } from './numa.ts'
import { isPopulated, makeCgroup, writeLimits } from './tree.ts'

/**
 * The processors and memory nodes of all containers of a cgroup v2 host. Nothing is written until a container asks for some; from
 * then on each change writes the sets of every container anew.
 */
export class Cpusets {
  readonly #unified: string
  readonly #path: string
  readonly #parent: string
  readonly #claims = new Map<string, CpusetClaim>()
  #engaged = false
  /** One change after the other. */
  #changing: Promise<unknown> = Promise.resolve()

  /** `path`: of the cgroup that holds all containers. */
  constructor(unified: string, path: string) {
    this.#unified = unified
    this.#path = path
    this.#parent = join(unified, path)
  }

  /** Throws `Fault('exhausted')` where there are not enough processors left, `Fault('invalid')` where the host has no such node. */
  put(containerId: string, limits: Limits): Promise<void> {
    return this.#change(async () => {
      const before = this.#claims.get(containerId)
      const claim = claimOf(containerId, limits, before?.has ?? [])
      this.#claims.set(containerId, claim)
      if (isSpecial(claim)) this.#engaged = true
      try {
        await this.#writeAll(containerId)
      } catch (e) {
        if (before === undefined) this.#claims.delete(containerId)
        else this.#claims.set(containerId, before)
        throw e
      }
    })
  }

  /** A container that another agent put under its limits. */
  adopt(containerId: string, limits: Limits): void {
    const text = this.#read(join(containerId, 'cpuset.cpus'))
    const has = (limits.exclusiveCores ?? 0) > 0 ? parseCores(text) : []
    this.#claims.set(containerId, claimOf(containerId, limits, has))
    this.#engaged ||= text.trim() !== ''
  }

  drop(containerId: string): Promise<void> {
    return this.#change(async () => {
      if (this.#claims.delete(containerId)) await this.#writeAll()
    })
  }

  #change(change: () => Promise<void>): Promise<void> {
    const changed = this.#changing.then(change)
    this.#changing = changed.catch(() => undefined) // its caller hears of it
    return changed
  }

  /** `newest` may be the first below the parent that has the controller. */
  async #writeAll(newest?: string): Promise<void> {
    if (!this.#engaged) return
    await this.#checkNobodyUnknown()
    const cores = parseCores(this.#read('cpuset.cpus.effective') || readFileSync('/sys/devices/system/cpu/online', 'utf8'))
    const plan = planCpusets(cores, [...this.#claims.values()])
    if (plan === undefined) {
      const wanted = [...this.#claims.values()].reduce((sum, claim) => sum + claim.exclusiveCores, 0)
      const say = `${wanted} exclusive cores are asked for here, and of ${cores.length} one at least must be left for everybody else, on its NUMA nodes too`
      throw new Fault('exhausted', say, { reason: 'launch_failed' })
    }
    for (const [containerId, own] of plan) {
      const claim = this.#claims.get(containerId)
      if (claim !== undefined && claim.exclusiveCores > 0) this.#claims.set(containerId, { ...claim, has: own })
      const writes = [
        { file: 'cpuset.cpus', value: formatCores(own) },
        { file: 'cpuset.mems', value: claim?.memoryNodes ?? '' }
      ].filter(({ file, value }) => !this.#says(join(containerId, file), value))
      if (writes.length === 0) continue
      if (containerId === newest) await makeCgroup(this.#unified, join(this.#path, containerId), writes)
      // One that is just being removed has no file any more.
      else {
        const others = writes.map((write) => ({ ...write, isNeeded: false }))
        await writeLimits(this.#unified, join(this.#path, containerId), others)
      }
    }
    this.#engaged = [...this.#claims.values()].some(isSpecial)
  }

  #says(file: string, value: string): boolean {
    return formatCores(parseCores(this.#read(file))) === formatCores(parseCores(value))
  }

  /** What has processors and is not known yet would be given away: it is just being taken over. */
  async #checkNobodyUnknown(): Promise<void> {
    const names = readdirSync(this.#parent, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
    for (const name of names.filter((n) => /^[0-9a-f]{32}$/.test(n) && !this.#claims.has(n))) {
      if (this.#read(join(name, 'cpuset.cpus')).trim() === '' || (await isPopulated(join(this.#parent, name))) !== true) continue
      throw new Fault('unavailable', 'the node is still taking over what runs on it: try again in a moment', {
        reason: 'launch_failed'
      })
    }
  }

  #read(file: string): string {
    try {
      return readFileSync(join(this.#parent, file), 'utf8')
    } catch {
      return '' // gone, or the controller is not switched on here yet
    }
  }
}

function claimOf(containerId: string, limits: Limits, has: readonly number[]): CpusetClaim {
  const { exclusiveCores = 0, numaNodes, memoryNodes = numaNodes ?? '' } = limits
  return { containerId, exclusiveCores, memoryNodes, has, ...(numaNodes === undefined ? {} : { within: coresOf(numaNodes) }) }
}

const isSpecial = ({ exclusiveCores, within, memoryNodes }: CpusetClaim): boolean =>
  exclusiveCores > 0 || within !== undefined || memoryNodes !== ''
