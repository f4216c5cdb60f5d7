import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { randomId } from '../../../base/random.ts'
import { imageName } from '../busybox-image.ts'
import type { Contender, Prepared } from '../contender.ts'
import { containerCommand, FirstByte, fifoMountPoint, launchPatienceMs } from '../first-byte.ts'
import { limits } from '../hearth-container.ts'

export const dockerName = 'docker API create, start, net none'

/** Create and start over dockerd's API, with the same root file system, limits and no network. */
export class DockerApi implements Contender {
  readonly name = dockerName
  readonly #docker: Docker
  readonly #fifoDir: string

  private constructor(docker: Docker, fifoDir: string) {
    this.#docker = docker
    this.#fifoDir = fifoDir
  }

  /** dockerode is loaded here and not before: it makes this process larger, and every fork of the other peers slower. */
  static async connect(socketPath: string, rootfs: string, fifoDir: string): Promise<DockerApi> {
    const { default: Client } = await import('dockerode')
    const docker = new Client({ socketPath })
    const tar = spawn('tar', ['-C', rootfs, '--numeric-owner', '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const answer = await docker.importImage(tar.stdout, { repo: imageName, tag: 'latest' })
    await new Promise<void>((resolve, reject) => {
      docker.modem.followProgress(answer, (e) => (e === null ? resolve() : reject(e)))
    })
    return new DockerApi(docker, fifoDir)
  }

  async prepare(): Promise<Prepared> {
    return new DockerContainer(this.#docker, this.#fifoDir)
  }
}

class DockerContainer implements Prepared {
  readonly id = randomId()
  readonly #docker: Docker
  readonly #fifoDir: string
  readonly #byte: FirstByte
  #container: Docker.Container | undefined

  constructor(docker: Docker, fifoDir: string) {
    this.#docker = docker
    this.#fifoDir = fifoDir
    this.#byte = new FirstByte(join(fifoDir, this.id))
  }

  async start(signal: AbortSignal): Promise<number> {
    const startNs = process.hrtime.bigint()
    this.#container = await this.#docker.createContainer({
      name: this.id,
      Image: `${imageName}:latest`,
      Cmd: [...containerCommand(`${fifoMountPoint}/${this.id}`)],
      NetworkDisabled: true,
      HostConfig: {
        NetworkMode: 'none',
        Binds: [`${this.#fifoDir}:${fifoMountPoint}`],
        NanoCpus: limits.milliCpu * 1_000_000,
        Memory: limits.memoryBytes,
        PidsLimit: 4_096
      }
    })
    await this.#container.start()
    const firstNs = await this.#byte.wait(AbortSignal.any([signal, AbortSignal.timeout(launchPatienceMs)]))
    return Number(firstNs - startNs) / 1e6
  }

  async remove(): Promise<void> {
    try {
      await this.#container?.remove({ force: true, v: true })
      this.#container = undefined
    } finally {
      this.#byte.close()
    }
  }
}
