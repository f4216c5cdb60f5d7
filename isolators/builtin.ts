import { apparmor } from './apparmor.ts'
import { capabilities } from './capabilities.ts'
import type { CgroupLayout } from './cgroup2/layout.ts'
import { cgroupLimits } from './cgroup2/limits.ts'
import { devices } from './devices.ts'
import { diskLimit } from './disk.ts'
import { filesystem } from './filesystem.ts'
import { hiddenPaths } from './hidden-paths.ts'
import type { Isolator } from './isolator.ts'
import { kernelSettings } from './kernel-settings.ts'
import { namespaces } from './namespaces.ts'
import { networkModes } from './network/modes.ts'
import { rlimits } from './rlimits.ts'
import { type SeccompConfig, seccomp } from './seccomp/seccomp.ts'
import type { Trash } from './trash.ts'
import { userNamespace } from './user-namespace.ts'
import type { IdRange } from './walls.ts'

interface BuiltinConfig {
  readonly layout: CgroupLayout
  readonly cgroupParent: string
  readonly seccomp: SeccompConfig
  readonly trash: Pick<Trash, 'take'>
  /** What containers in user namespaces may have, of which the node may give nothing to others. */
  readonly ids?: IdRange
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** The walls in the order in which they are put up; they are taken down in the reverse order. */
export const builtinIsolators = (config: BuiltinConfig): readonly Isolator[] => [
  filesystem(config.trash),
  namespaces,
  userNamespace(config.ids),
  networkModes,
  cgroupLimits(config.layout, config.cgroupParent),
  diskLimit({ sleep: config.sleep }),
  rlimits(),
  capabilities,
  hiddenPaths,
  devices,
  kernelSettings,
  apparmor(),
  seccomp(config.seccomp)
]
