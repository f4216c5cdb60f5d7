import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Cleanup } from '../bench/cleanup.ts'
import { startDocker } from '../bench/peers/docker-daemon.ts'
import { eventually, runProgram } from './cluster.ts'
import type { TestRegistry } from './registry.ts'

const port = 5000

/**
 * Builds a folder with a Dockerfile by a real dockerd and pushes it to the registry under this name. dockerd lives in a network of its
 * own; there it meets a second registry over the same folder.
 */
export async function dockerPush(t: Test, registry: TestRegistry, context: string, name: string): Promise<void> {
  const cleanup = new Cleanup()
  const home = mkdtempSync(join(tmpdir(), 'hearth-docker-'))
  try {
    const { socketPath, pid } = await startDocker(home, cleanup)
    secondRegistry(registry, pid, cleanup)
    const docker = (...args: readonly string[]) => {
      const env = { DOCKER_BUILDKIT: '0', DOCKER_CONFIG: home }
      return runProgram('docker', ['-H', `unix://${socketPath}`, ...args], { env })
    }
    const pushed = `127.0.0.1:${port}/${name}`
    const built = await docker('build', '--tag', pushed, context)
    if (built.code !== 0) throw new Error(`docker build: ${built.stderr}`)
    // The registry there may still be on its way up.
    await eventually(async () => ((await docker('push', pushed)).code === 0 ? true : undefined))
  } finally {
    t.strictSame(await cleanup.run(), [], 'docker leaves nothing')
    rmSync(home, { recursive: true, force: true })
  }
}

function secondRegistry(registry: TestRegistry, pid: number, cleanup: Cleanup): void {
  const home = mkdtempSync(join(tmpdir(), 'hearth-registry-'))
  const config = join(home, 'config.yml')
  const root = `storage:\n  filesystem:\n    rootdirectory: ${registry.directory}\n`
  writeFileSync(config, `version: 0.1\nlog:\n  level: error\n${root}http:\n  addr: 127.0.0.1:${port}\n  secret: x\n`)
  const inside = ['--target', String(pid), '--net', '--', 'docker-registry', 'serve', config]
  const child = spawn('nsenter', inside, { stdio: 'ignore' })
  cleanup.add('the second registry', async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
    rmSync(home, { recursive: true, force: true })
  })
}
