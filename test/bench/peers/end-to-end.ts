import { join } from 'node:path'
import { randomId } from '../../../base/random.ts'
import { OperatorClient } from '../../../sdk/operator-client.ts'
import { imageName } from '../busybox-image.ts'
import type { Contender, Prepared } from '../contender.ts'
import { containerCommand, FirstByte, fifoMountPoint, launchPatienceMs } from '../first-byte.ts'
import { limits } from '../hearth-container.ts'

/** From the request to the master, over offer, log and wire, to the container's first byte. */
export class EndToEnd implements Contender {
  readonly name = 'hearth end to end, from the request to the master'
  readonly #client: OperatorClient
  readonly #fifoDir: string

  constructor(masterSocket: string, fifoDir: string) {
    this.#client = new OperatorClient({ kind: 'socket', path: masterSocket })
    this.#fifoDir = fifoDir
  }

  async prepare(): Promise<Prepared> {
    return new ClusterTask(this.#client, this.#fifoDir)
  }
}

class ClusterTask implements Prepared {
  readonly id = randomId()
  readonly #client: OperatorClient
  readonly #fifoDir: string
  readonly #byte: FirstByte
  #taskId: string | undefined

  constructor(client: OperatorClient, fifoDir: string) {
    this.#client = client
    this.#fifoDir = fifoDir
    this.#byte = new FirstByte(join(fifoDir, this.id))
  }

  async start(signal: AbortSignal): Promise<number> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(launchPatienceMs)])
    const startNs = process.hrtime.bigint()
    const task = await this.#client.tasks.run(
      {
        image: imageName,
        arguments: containerCommand(`${fifoMountPoint}/${this.id}`),
        environment: [],
        mounts: [{ source: this.#fifoDir, target: fifoMountPoint, readOnly: false }],
        network: 'none',
        ...limits
      },
      patience
    )
    this.#taskId = task.taskId
    const firstNs = await this.#byte.wait(patience)
    return Number(firstNs - startNs) / 1e6
  }

  /** The answer to the removal comes when the agent has put everything away. */
  async remove(): Promise<void> {
    const patience = AbortSignal.timeout(launchPatienceMs)
    try {
      if (this.#taskId === undefined) return
      await this.#client.tasks.kill(this.#taskId, { signal: 'SIGKILL', graceMs: 0 }, patience)
      await this.#client.tasks.wait(this.#taskId, patience)
      await this.#client.tasks.remove(this.#taskId, true, patience)
      this.#taskId = undefined
    } finally {
      this.#byte.close()
    }
  }
}
