import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Fault } from '../../../base/fault.ts'

/** What the probes of a task ask, on this host's loopback. */
export class ProbeTarget {
  readonly #server: Server
  isWell = false
  #connections = 0

  private constructor() {
    this.#server = createServer((_, response) => response.writeHead(this.isWell ? 200 : 503).end())
    this.#server.on('connection', () => {
      this.#connections += 1
    })
  }

  static async open(): Promise<ProbeTarget> {
    const target = new ProbeTarget()
    await new Promise<void>((resolve, reject) => {
      target.#server.once('error', reject)
      target.#server.listen(0, '127.0.0.1', resolve)
    })
    return target
  }

  get port(): number {
    const address: AddressInfo | string | null = this.#server.address()
    if (address === null || typeof address === 'string') throw new Fault('unavailable', 'the target of the probes is closed')
    return address.port
  }

  /** How often a probe has connected. */
  get connections(): number {
    return this.#connections
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }
}
