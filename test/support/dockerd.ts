import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Docker from 'dockerode'
import { systemClock } from '../../base/clock.ts'
import { DockerRuntime } from '../../isolators/runtime/docker/docker.ts'
import { type Engine, loadEngine } from '../../isolators/runtime/docker/engine.ts'
import { Cleanup } from '../bench/cleanup.ts'
import { startDocker } from '../bench/peers/docker-daemon.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'
import type { ContainerMaker } from './containers.ts'

export interface TestDocker {
  readonly socketPath: string
  readonly pid: number
  readonly docker: Docker
  /** Of `busybox:test`. */
  readonly imageDigest: string
  /** A runtime over it, for test/support/containers.ts. */
  readonly maker: ContainerMaker
  engine(): Promise<Engine>
  /** Names of the containers that it has. */
  names(): Promise<readonly string[]>
  stop(): Promise<void>
}

export const engineFile = fileURLToPath(new URL('../../isolators/runtime/docker/dockerode-engine.ts', import.meta.url))

/** A real dockerd with its own containerd, directories and network namespace. One for a whole file: it takes seconds to start. */
export async function testDocker(): Promise<TestDocker> {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-docker-'))
  const cleanup = new Cleanup()
  const { socketPath, pid } = await startDocker(directory, cleanup)
  const docker = new Docker({ socketPath })
  const layer = makeBusyboxLayer(mkdtempSync(join(tmpdir(), 'hearth-layer-')))
  const tar = spawn('tar', ['-C', layer, '--numeric-owner', '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const answer = await docker.importImage(tar.stdout, { repo: 'busybox', tag: 'test' })
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(answer, (e: Error | null) => (e === null ? resolve() : reject(e)))
  })
  rmSync(layer, { recursive: true, force: true })
  const { Id: imageDigest } = await docker.getImage('busybox:test').inspect()
  const engine = (): Promise<Engine> => loadEngine(engineFile, socketPath)
  return {
    ...{ socketPath, pid, docker, imageDigest, engine },
    maker: {
      imageDigest,
      make: ({ directory: home, runDir, cgroupParent, layout }) =>
        new DockerRuntime(
          { layout, engine, sleep: systemClock.sleep },
          {
            ...{ runDir, cgroupParent },
            askedDir: join(home, 'docker'),
            agentId: () => cgroupParent.slice(1),
            logPathOf: (id) => join(home, 'sandboxes', id, 'log'),
            program: []
          }
        )
    },
    names: async () => (await docker.listContainers({ all: true })).flatMap(({ Names }) => Names),
    async stop() {
      const left = await cleanup.run()
      if (left.length > 0) throw new Error(left.join('; '))
    }
  }
}
