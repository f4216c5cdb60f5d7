import { Fault } from '../../base/fault.ts'
import type { Init } from '../../proto/codec.ts'
import type { Walls } from '../../proto/gen/messages.ts'
import { capabilityName } from '../../proto/linux-capabilities.ts'

/** `walls` of a task, in a request and in an answer; in a request everything may be left out. */
export interface WallsJson {
  readonly addCapabilities: readonly string[]
  readonly dropCapabilities: readonly string[]
  readonly newPrivileges: boolean
  readonly readOnlyRoot: boolean
  readonly hiddenPaths: readonly string[]
  readonly readOnlyPaths: readonly string[]
  readonly limits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[]
  readonly devices: readonly { readonly path: string; readonly target?: string; readonly access?: string }[]
  readonly tmpBytes: number
  readonly shmBytes: number
  readonly settings: Readonly<Record<string, string>>
  readonly apparmor: string
  readonly userNamespace: boolean
}

/** Throws `Fault('invalid')` for what is no Linux capability, or is both added and dropped, and for a limit above its hard one. */
export function wallsOf(request: Partial<WallsJson> | undefined): Init<Walls> | null {
  if (request === undefined) return null
  const addCapabilities = capabilities(request.addCapabilities ?? [])
  const dropCapabilities = capabilities(request.dropCapabilities ?? [])
  const both = addCapabilities.find((name) => dropCapabilities.includes(name))
  if (both !== undefined) throw new Fault('invalid', `${both} is both added and dropped: leave one of the two out`)
  for (const { name, soft, hard } of request.limits ?? []) {
    if (hard === -1 || soft <= hard) continue
    throw new Fault('invalid', `the soft limit ${name}=${soft} is above the hard one, ${hard}: it may be at most as high`)
  }
  const { settings, ...same } = request
  return {
    ...same,
    addCapabilities,
    dropCapabilities,
    settings: Object.entries(settings ?? {}).map(([name, value]) => ({ name, value }))
  }
}

function capabilities(names: readonly string[]): readonly string[] {
  const known = names.map((name) => {
    const capability = capabilityName(name)
    if (capability !== undefined) return capability
    const say = `there is no Linux capability ${JSON.stringify(name)}: they are called NET_RAW, SYS_PTRACE and so on (capabilities(7)), or ALL`
    throw new Fault('invalid', say)
  })
  return [...new Set(known)]
}

export const wallsJson = (walls: Walls | null): WallsJson | null =>
  walls && { ...walls, settings: Object.fromEntries(walls.settings.map(({ name, value }) => [name, value])) }
