import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import { isContainerId } from '../../proto/ids.ts'
import { killAtMs, type Term } from './terms.ts'

/**
 * One lease on one container, for the watchdog (agent/lease/watchdog.pl reads it, whatever version of it runs):
 *
 *   hearth-lease 1 BOOT_ID KILL_AT_MS SENT_MS LENGTH_MS
 *   a cgroup directory per line
 */
export interface LeaseFile {
  readonly term: Term
  readonly bootId: string
  readonly cgroups: readonly string[]
}

export const encodeLease = ({ term, bootId, cgroups }: LeaseFile): string =>
  `${['hearth-lease', 1, bootId, killAtMs(term), term.sentMs, term.lengthMs].join(' ')}\n${cgroups.join('\n')}\n`

/** Undefined where it is no lease that this version knows. */
export function decodeLease(text: string): LeaseFile | undefined {
  const [head = '', ...rest] = text.split('\n')
  const [name, version, bootId = '', , sentMs, lengthMs] = head.split(' ')
  const term = { sentMs: Number(sentMs), lengthMs: Number(lengthMs) }
  if (name !== 'hearth-lease' || version !== '1' || !Number.isSafeInteger(term.sentMs) || !Number.isSafeInteger(term.lengthMs))
    return undefined
  return { term, bootId, cgroups: rest.filter((line) => line !== '') }
}

/** The directory of the leases, which dies with the boot. */
export class LeaseFiles {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  /** Containers that have a lease, or had one when their watchdog ended them. */
  containers(): readonly string[] {
    try {
      return [...new Set(readdirSync(this.directory).map((name) => name.slice(0, 32)))].filter(isContainerId)
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return [] // no lease was ever held in this boot
      throw e
    }
  }

  /** By rename: the watchdog sees the lease before or the lease after, never a part. */
  write(containerId: string, lease: LeaseFile): void {
    const draft = join(this.directory, `${containerId}.draft`)
    mkdirSync(this.directory, { recursive: true, mode: 0o700 })
    writeFileSync(draft, encodeLease(lease), { mode: 0o600 })
    renameSync(draft, join(this.directory, containerId))
  }

  read(containerId: string): LeaseFile | undefined {
    return decodeLease(textOf(join(this.directory, containerId)))
  }

  /** When the watchdog began to end the container, in boot time; undefined where it did not. */
  firedMs(containerId: string): number | undefined {
    const ms = Number.parseInt(textOf(join(this.directory, `${containerId}.fired`)), 10)
    return Number.isNaN(ms) ? undefined : ms
  }

  remove(containerId: string): void {
    for (const name of [containerId, `${containerId}.draft`, `${containerId}.fired`])
      rmSync(join(this.directory, name), { force: true })
  }
}

export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return ''
    throw e
  }
}
