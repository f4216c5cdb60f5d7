import { assert } from '../../../base/fault.ts'
import type { BundlePart, IsolatorRequest } from '../../isolator.ts'

type Json = Readonly<Record<string, unknown>>

/**
 * The runtime spec (OCI runtime-spec 1.0.2) of one container out of the isolators' parts. Pure. Lists are joined in the order
 * of the parts; anything else may be set by one part only.
 */
export function buildSpec(
  request: IsolatorRequest,
  parts: readonly BundlePart[],
  annotations: Readonly<Record<string, string>>
): Json {
  const capabilities = single(parts, 'capabilities') ?? []
  const ambient = single(parts, 'ambientCapabilities') ?? []
  const apparmorProfile = single(parts, 'apparmorProfile')
  const rlimits = parts.flatMap((p) => p.rlimits ?? [])
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: request.process.terminal,
      ...consoleSize(request.process),
      user: { uid: request.process.uid, gid: request.process.gid, additionalGids: request.process.additionalGids },
      args: request.process.arguments,
      env: mergeEnvironment([...parts.flatMap((p) => p.env ?? []), ...request.process.environment]),
      cwd: request.process.workingDirectory,
      capabilities: capabilitySets(capabilities, ambient, request.process.uid),
      ...(apparmorProfile === undefined ? {} : { apparmorProfile }),
      rlimits,
      noNewPrivileges: single(parts, 'noNewPrivileges') ?? false
    },
    root: { path: single(parts, 'rootPath') ?? 'root', readonly: single(parts, 'rootReadonly') ?? false },
    hostname: request.process.hostname,
    mounts: parts.flatMap((p) => p.mounts ?? []),
    annotations,
    linux: linuxSection(parts)
  }
}

const consoleSize = ({ terminal, rows, columns }: IsolatorRequest['process']): Json =>
  terminal && rows > 0 && columns > 0 ? { consoleSize: { height: rows, width: columns } } : {}

function linuxSection(parts: readonly BundlePart[]): Json {
  const seccomp = single(parts, 'seccomp')
  const cgroupsPath = single(parts, 'cgroupsPath')
  const sysctl = single(parts, 'sysctl')
  const ids = single(parts, 'idMappings')
  const devices = [{ allow: false, access: 'rwm' }, ...parts.flatMap((p) => p.deviceRules ?? [])]
  return {
    namespaces: parts.flatMap((p) => p.namespaces ?? []),
    ...(ids === undefined ? {} : { uidMappings: ids, gidMappings: ids }),
    ...(cgroupsPath === undefined ? {} : { cgroupsPath }),
    resources: { devices, ...single(parts, 'resources') },
    devices: parts.flatMap((p) => p.devices ?? []),
    rootfsPropagation: 'private',
    maskedPaths: parts.flatMap((p) => p.maskedPaths ?? []),
    readonlyPaths: parts.flatMap((p) => p.readonlyPaths ?? []),
    ...(sysctl === undefined ? {} : { sysctl }),
    ...(seccomp === undefined ? {} : { seccomp })
  }
}

/**
 * Root holds its capabilities; another user starts with those alone that it was given by name (ambient), but may gain the bounded
 * ones through a file that carries them (capabilities(7), "Transformation during execve").
 */
const capabilitySets = (names: readonly string[], ambient: readonly string[], uid: number): Json =>
  uid === 0
    ? { bounding: names, permitted: names, effective: names, inheritable: [], ambient: [] }
    : { bounding: names, permitted: ambient, effective: ambient, inheritable: ambient, ambient }

/** The last setting of a name wins and keeps the place of the first. */
export function mergeEnvironment(settings: readonly string[]): readonly string[] {
  const merged = new Map<string, string>()
  for (const setting of settings) merged.set(setting.slice(0, Math.max(0, setting.indexOf('='))), setting)
  return [...merged.values()]
}

function single<K extends keyof BundlePart>(parts: readonly BundlePart[], key: K): BundlePart[K] | undefined {
  const set = parts.filter((p) => p[key] !== undefined)
  assert(set.length <= 1, `two isolators set ${key}`)
  return set[0]?.[key]
}
