import type { Task, Walls } from '../../sdk/operator-messages.ts'
import { showBytes } from '../amounts.ts'

/** What is not as usual, in the words of the command line: `+NET_RAW, read-only root`. Null where all is. */
export function showWalls({ walls, seccomp }: Pick<Task, 'walls' | 'seccomp'>): string | null {
  const filter = seccomp === undefined || seccomp === 'default' ? [] : [`seccomp ${seccomp}`]
  const all = [...filter, ...(walls === null || walls === undefined ? [] : unusual(walls))]
  return all.length === 0 ? null : all.join(', ')
}

const unusual = (walls: Walls): readonly string[] => [
  ...walls.addCapabilities.map((name) => `+${short(name)}`),
  ...walls.dropCapabilities.map((name) => `-${short(name)}`),
  ...(walls.newPrivileges ? ['new privileges'] : []),
  ...(walls.userNamespace ? ['user namespace'] : []),
  ...(walls.readOnlyRoot ? ['read-only root'] : []),
  ...walls.hiddenPaths.map((path) => `${path} hidden`),
  ...walls.readOnlyPaths.map((path) => `${path} read-only`),
  ...walls.limits.map(({ name, soft, hard }) => `${name} ${amount(soft)}:${amount(hard)}`),
  ...walls.devices.map(({ path, access }) => `${path} (${access || 'rw'})`),
  ...(walls.tmpBytes > 0 ? [`/tmp ${showBytes(walls.tmpBytes)}`] : []),
  ...(walls.shmBytes > 0 ? [`/dev/shm ${showBytes(walls.shmBytes)}`] : []),
  ...Object.entries(walls.settings).map(([name, value]) => `${name}=${value}`),
  ...(walls.apparmor === '' ? [] : [`AppArmor ${walls.apparmor}`])
]

const short = (name: string): string => name.replace(/^CAP_/, '')
const amount = (value: number): string => (value === -1 ? 'unlimited' : String(value))
