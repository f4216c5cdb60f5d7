import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'

const run = promisify(execFile)
const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path))
const runc = ['/usr/sbin/runc', '/usr/bin/runc'].find((path) => existsSync(path))
const applets = [
  'sh',
  'sleep',
  'cat',
  'echo',
  'stty',
  'true',
  'false',
  'yes',
  'head',
  'id',
  'pwd',
  'env',
  'ls',
  'dd',
  'wc',
  'tty',
  'ps',
  'kill',
  'tr'
]

/** Why containers cannot be run here, for `{ skip }`; false where they can. */
export const noContainers: string | false =
  process.getuid?.() !== 0
    ? 'needs root'
    : runc === undefined || !existsSync('/usr/bin/conmon')
      ? 'needs runc and conmon'
      : busybox === undefined
        ? 'needs busybox-static'
        : false

export interface TestContainer {
  readonly containerId: string
  readonly bundleDir: string
  readonly logPath: string
  /** Of the first process. */
  readonly pid: number
  /** The exit code, as conmon wrote it. */
  readonly exited: Promise<number>
  /** `runc exec` with our root folder. */
  execCommand(options: readonly string[], args: readonly string[]): string[]
  /** Host pids of everything in the container but its first process. */
  programs(): number[]
  remove(): Promise<void>
}

export interface TestContainerOptions {
  readonly args: readonly string[]
  readonly terminal?: boolean
  readonly openStdin?: boolean
}

/** A root file system with busybox and its applets under /bin, and nothing else. */
export function makeRootfs(dir: string): void {
  for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc']) mkdirSync(join(dir, name), { recursive: true })
  copyFileSync(busybox ?? '', join(dir, 'bin/busybox'))
  for (const name of applets) symlinkSync('busybox', join(dir, 'bin', name))
  writeFileSync(join(dir, 'etc/not-a-program'), 'plain text\n', { mode: 0o644 })
}

/** Starts a container of busybox under conmon and runc; `remove` leaves nothing of it behind. */
export async function startContainer(options: TestContainerOptions): Promise<TestContainer> {
  const containerId = randomBytes(16).toString('hex')
  const home = mkdtempSync(join(tmpdir(), 'hearth-bundle-'))
  const bundleDir = join(home, 'b')
  const [root, exits, logPath] = [join(home, 'runc'), join(home, 'exits'), join(home, 'log')]
  for (const dir of [bundleDir, root, exits]) mkdirSync(dir)
  makeRootfs(join(bundleDir, 'rootfs'))
  await run(runc ?? '', ['spec', '-b', bundleDir])
  const configPath = join(bundleDir, 'config.json')
  const config = JSON.parse(readFileSync(configPath, 'utf8'))
  config.process = { ...config.process, args: options.args, terminal: options.terminal ?? false }
  config.root.readonly = false
  config.linux.cgroupsPath = `/hearth-test-${containerId}`
  writeFileSync(configPath, JSON.stringify(config))
  const exited = exitOf(exits, containerId)
  const remove = async (): Promise<void> => {
    await run(runc ?? '', ['--root', root, 'delete', '-f', containerId])
    await exited
    rmSync(home, { recursive: true, force: true })
  }
  const pid = await create({ containerId, bundleDir, root, exits, logPath }, options)
  await run(runc ?? '', ['--root', root, 'start', containerId])
  const execCommand = (more: readonly string[], args: readonly string[]): string[] => [
    runc ?? '',
    '--root',
    root,
    'exec',
    ...more,
    containerId,
    ...args
  ]
  return { containerId, bundleDir, logPath, pid, exited, execCommand, programs: () => programsOf(pid), remove }
}

interface Places {
  readonly containerId: string
  readonly bundleDir: string
  readonly root: string
  readonly exits: string
  readonly logPath: string
}

async function create(p: Places, options: TestContainerOptions): Promise<number> {
  const flags = [
    ...(options.terminal === true ? ['-t'] : []),
    ...(options.openStdin === true ? ['-i', ...(options.terminal === true ? ['--leave-stdin-open'] : [])] : []),
    ...['--api-version', '1', '-c', p.containerId, '-u', p.containerId, '-r', runc ?? '', '-b', p.bundleDir],
    ...['--runtime-arg', '--root', '--runtime-arg', p.root, '-p', join(p.bundleDir, 'pid')],
    ...['--conmon-pidfile', join(p.bundleDir, 'monitor-pid'), '--exit-dir', p.exits, '--persist-dir', p.bundleDir],
    ...['--socket-dir-path', p.bundleDir, '-l', `k8s-file:${p.logPath}`]
  ]
  const conmon = spawn('conmon', flags, {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    env: { _OCI_SYNCPIPE: '3' },
    detached: true
  })
  const pipe = conmon.stdio[3] as Readable
  let said = ''
  pipe.on('data', (text: Buffer) => {
    said += text.toString()
    if (said.includes('\n')) pipe.destroy()
  })
  await once(pipe, 'close')
  const pid = (JSON.parse(said) as { data: number; message?: string }).data
  if (pid <= 0) throw new Error(`conmon: ${said}`)
  return pid
}

function exitOf(exits: string, containerId: string): Promise<number> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (!existsSync(join(exits, containerId))) return
      watcher.close()
      resolve(Number(readFileSync(join(exits, containerId), 'utf8')))
    }
    const watcher = watch(exits, look)
    look()
  })
}

function programsOf(first: number): number[] {
  const namespace = pidNamespace(first)
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map(Number).filter((pid) => pid !== first && namespace !== undefined && pidNamespace(pid) === namespace)
}

function pidNamespace(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // What ended stays as a zombie where the container's first process does not wait for orphans.
    return stat.includes(') Z ') ? undefined : readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return undefined // it has just ended
  }
}
