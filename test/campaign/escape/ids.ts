import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultCapabilities } from '../../../isolators/capabilities.ts'
import { rangeNumber } from '../../../proto/id-ranges.ts'
import {
  type Attempt,
  type Container,
  call,
  everyDevice,
  merged,
  mountedWith,
  perl,
  withCapability,
  withoutNamespace
} from './attempt.ts'

const ownIds: Container = { walls: { ids: rangeNumber(4_000) } }
const nodesIds: Container = { walls: { ids: undefined } }

/** Every other wall that could stop the program is taken down in both containers. */
const root = (name: string, program: readonly string[], given: Container, more: Pick<Attempt, 'fill'> = {}): Attempt => ({
  ...{ name, wall: 'user namespace', program, given: merged(given, ownIds), without: nodesIds },
  ...more
})

const holding = (...more: readonly string[]): Container =>
  withCapability(defaultCapabilities, ...more.map((name) => `CAP_${name}`))

/** Without the place of a file system that only the owner of the IPC namespace may mount. */
const hostIpc: Container = merged(withoutNamespace('ipc'), {
  spec: (spec) => ({ ...spec, mounts: spec.mounts.filter(({ destination }) => destination !== '/dev/mqueue') })
})

/** What the container's root can do to the node with what it holds, where its id is the node's root's. */
export const idAttempts: readonly Attempt[] = [
  root(
    'a file of the node’s root',
    perl(`open(my $f, '<', '/volume/secret') or tried(0); local $/; tried(<$f> eq 'of root')`),
    mountedWith('/volume', (options) => options.filter((option) => option !== 'idmap')),
    { fill: (volume) => writeFileSync(join(volume, 'secret'), 'of root', { mode: 0o600 }) }
  ),
  root('a shared memory of the node’s root', perl(`tried(defined shmget($ENV{BAIT_KEY}, 4096, 0600))`), hostIpc),
  root('a file system of devices', call('mount', `c('none'), c('/sandbox'), c('devtmpfs'), 0, 0`), holding('SYS_ADMIN')),
  root(
    'a device node',
    call('mknodat', `-100, c('/sandbox/zero'), 0020666, (1 << 8) | 5`),
    merged(holding('MKNOD'), everyDevice)
  ),
  root(
    'a trusted attribute',
    call('setxattr', `c('/sandbox/f'), c('trusted.escape'), c('x'), 1, 0`, `open(my $f, '>', '/sandbox/f') or POSIX::_exit(2)`),
    holding('SYS_ADMIN')
  ),
  root('the kernel’s log', call('syslog', '3, $text, 4096', `my $text = "\\0" x 4096`), holding('SYSLOG')),
  root('a priority above others', call('setpriority', '0, 0, -5'), holding('SYS_NICE'))
]
