import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomId } from '../../../base/random.ts'
import { dropCgroup } from '../cgroups.ts'
import type { Cleanup } from '../cleanup.ts'
import { eventually } from '../eventually.ts'
import { end, run } from '../programs.ts'

const startPatienceMs = 60_000
/** Paths that no setting of dockerd 20.10 and containerd 1.6 moves. Those that the host had not are removed at the end. */
const unconfigurable = ['/etc/docker', '/etc/docker/key.json', '/run/containerd', '/run/docker']

/** A dockerd with its own containerd, network namespace (which ends with it) and directories: nothing of it touches the host's docker or networks. */
export async function startDocker(
  directory: string,
  cleanup: Cleanup
): Promise<{ readonly socketPath: string; readonly pid: number }> {
  const cgroupParent = `/hearth-bench-docker-${randomId().slice(0, 8)}`
  const socketPath = join(directory, 'd.sock')
  const strays = unconfigurable.filter((path) => !existsSync(path))
  cleanup.add('what docker left outside its directories', () => {
    for (const path of strays) rmSync(path, { recursive: true, force: true })
  })
  cleanup.add('docker’s directories', async () => {
    await unmountBelow(directory)
    rmSync(directory, { recursive: true, force: true })
  })
  cleanup.add('docker’s cgroups', () => dropCgroup(cgroupParent))
  const containerd = daemon(directory, 'containerd', ['containerd', '--config', containerdConfig(directory)], cleanup)
  await eventually('containerd to listen', () => listensOrDied(containerd, join(directory, 'c.sock')), startPatienceMs)
  const words = [
    ...['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'],
    ...['dockerd', '--config-file', emptyConfig(directory)],
    ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'exec'), '-p', join(directory, 'd.pid')],
    ...['-H', `unix://${socketPath}`, '--containerd', join(directory, 'c.sock'), '--cgroup-parent', cgroupParent],
    ...['--exec-opt', 'native.cgroupdriver=cgroupfs']
  ]
  const dockerd = daemon(directory, 'dockerd', words, cleanup)
  await eventually('dockerd to listen', () => listensOrDied(dockerd, socketPath), startPatienceMs)
  return { socketPath, pid: dockerd.pid ?? 0 }
}

function daemon(directory: string, name: string, words: readonly string[], cleanup: Cleanup): ChildProcess {
  const output = openSync(join(directory, `${name}.out`), 'a')
  const [program = '', ...args] = words
  const child = spawn(program, args, { cwd: directory, detached: true, stdio: ['ignore', output, output] })
  child.on('error', () => undefined) // it then never listens, which is told
  closeSync(output)
  cleanup.add(name, () => end(child, 20_000))
  return child
}

function listensOrDied(child: ChildProcess, socketPath: string): boolean {
  if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended with ${child.exitCode} before it listened`)
  return existsSync(socketPath)
}

function containerdConfig(directory: string): string {
  const path = join(directory, 'containerd.toml')
  const lines = [
    'version = 2',
    `root = "${join(directory, 'cd-root')}"`,
    `state = "${join(directory, 'cd-state')}"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    '[grpc]',
    `address = "${join(directory, 'c.sock')}"`,
    '[plugins."io.containerd.internal.v1.opt"]',
    `path = "${join(directory, 'opt')}"`
  ]
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}

/** So that the host's own /etc/docker/daemon.json has no say. */
function emptyConfig(directory: string): string {
  const path = join(directory, 'daemon.json')
  writeFileSync(path, '{}\n')
  return path
}

async function unmountBelow(directory: string): Promise<void> {
  const places = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[1] ?? [])
    .filter((place) => place.startsWith(`${directory}/`))
  for (const place of places.reverse()) await run('umount', [place])
}
