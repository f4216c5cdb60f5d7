import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { Fault } from '../../base/fault.ts'
import { defaultStateDir } from '../../sdk/endpoint.ts'
import type { CommonOptions, Context } from '../context.ts'
import { startProgress } from '../output/progress.ts'
import { type StateLayout, stateLayout } from '../state-layout.ts'
import { removeTree, stopCluster } from '../stop-cluster.ts'
import { takeUpLock } from '../up-lock.ts'

interface DownOptions extends CommonOptions {
  readonly purge?: boolean
}

export async function down(context: Context, options: DownOptions): Promise<number> {
  const { stateDir } = context.settings(options)
  const layout = stateLayout(stateDir)
  const { stdout, stderr } = context.streams
  if (!existsSync(stateDir)) {
    stdout.write(`hearth is not running: there is no ${stateDir}\n`)
    return 0
  }
  if (!existsSync(layout.run) && options.purge !== true) {
    stdout.write(`hearth is not running in ${stateDir}\n`)
    return 0
  }
  if (process.getuid?.() !== 0) throw new Fault('denied', 'hearth down needs root; try: sudo hearth down')
  if (options.purge === true) checkPurge(layout)
  const release = takeUpLock(layout)
  const progress = startProgress(stderr)
  try {
    progress.show('stopping tasks, agent and master')
    const wasRunning = await stopCluster(layout, { removeRun: true, workloads: 'always' }, context.signal)
    progress.clear()
    stdout.write(wasRunning ? 'hearth is down\n' : `hearth is not running in ${stateDir}\n`)
    if (options.purge === true) {
      removeTree(stateDir)
      stdout.write(`removed ${stateDir}\n`)
    }
    return 0
  } finally {
    progress.clear()
    release()
  }
}

const systemFolders = [
  'bin',
  'boot',
  'dev',
  'etc',
  'home',
  'lib',
  'lib64',
  'opt',
  'proc',
  'root',
  'run',
  'sbin',
  'srv',
  'sys',
  'tmp',
  'usr',
  'var'
]

/** Only a folder that is certainly ours: it holds our identity, or it is the default one, and it is no folder of the system. */
export function checkPurge(layout: StateLayout, home = homedir()): void {
  const real = realpathSync(layout.stateDir)
  const parts = real.split('/').filter((part) => part !== '')
  const isSystem = parts.length === 0 || (parts.length === 1 && systemFolders.includes(parts[0] ?? ''))
  const isShared = ['/var/lib', '/var/run', '/usr/local', '/usr/lib', '/usr/share', '/var/log', '/var/tmp'].includes(real)
  if (isSystem || isShared || home === real || home.startsWith(`${real}/`)) {
    throw new Fault('denied', `--purge refuses to remove ${real}`)
  }
  if (real === defaultStateDir || existsSync(layout.identity) || existsSync(layout.joinedMasters) || holdsOnlyRemains(layout))
    return
  throw new Fault('denied', `--purge refuses to remove ${real}: there is no identity.json of a cluster in it`)
}

const inRun = /^(up\.lock|supervisor\.json(\.draft)?|http|listen|c|(master|agents|agent)\.sock)$/
const inLogs = /^(master|agent|supervisor)\.log(\.1)?$/

/** What `hearth up` leaves where it failed before the master had written its identity. */
function holdsOnlyRemains(layout: StateLayout): boolean {
  const namesIn = (path: string): readonly string[] => (existsSync(path) ? readdirSync(path) : [])
  const top = readdirSync(layout.stateDir)
  return (
    top.some((name) => name === 'run' || name === 'logs') &&
    top.every((name) => name === 'run' || name === 'logs') &&
    namesIn(layout.run).every((name) => inRun.test(name)) &&
    namesIn(layout.logs).every((name) => inLogs.test(name))
  )
}
