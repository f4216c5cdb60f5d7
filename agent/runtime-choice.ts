import type { ExecRequest, HolderKind, LaunchRequest, Runtime } from '../isolators/runtime/runtime.ts'
import type { TaskRow } from '../proto/gen/messages.ts'

interface Parts {
  readonly oci: Runtime
  readonly docker: Runtime
  /** By the ledger, or by the container's bundle; undefined where neither tells. */
  rowOf(containerId: string): TaskRow | undefined
}

export const runtimeName = (row: TaskRow | undefined): 'docker' | 'oci' =>
  row?.group?.tasks[0]?.runtime === 'docker' ? 'docker' : 'oci'

/** All runtimes of an agent as one: each container goes to the one that its task named. */
export class RuntimeChoice implements Runtime {
  readonly name = 'choice'
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async start(): Promise<void> {
    await Promise.all([this.#parts.oci.start(), this.#parts.docker.start()])
  }

  async stop(): Promise<void> {
    await Promise.all([this.#parts.docker.stop(), this.#parts.oci.stop()])
  }

  #of(containerId: string): Runtime {
    return this.#parts[runtimeName(this.#parts.rowOf(containerId))]
  }

  readonly check: Runtime['check'] = (request, when) => this.#of(request.containerId).check(request, when)
  readonly holders = (id: string): readonly HolderKind[] => this.#of(id).holders(id)
  readonly images = (id: string) => this.#of(id).images(id)
  readonly launch = (request: LaunchRequest, signal: AbortSignal) => this.#of(request.containerId).launch(request, signal)
  readonly inspect = (id: string) => this.#of(id).inspect(id)
  readonly settled = (id: string, signal: AbortSignal) => this.#of(id).settled(id, signal)
  readonly wait: Runtime['wait'] = (id, signal, unwatched) => this.#of(id).wait(id, signal, unwatched)
  readonly completeLog = (id: string) => this.#of(id).completeLog(id)
  readonly signal = (id: string, signal: number) => this.#of(id).signal(id, signal)
  readonly kill = (id: string) => this.#of(id).kill(id)
  readonly endLaunch = (id: string) => this.#of(id).endLaunch(id)
  readonly remove = (id: string, signal: AbortSignal) => this.#of(id).remove(id, signal)
  readonly dropExit = (id: string): void => this.#of(id).dropExit(id)
  readonly execCommand = (request: ExecRequest) => this.#of(request.containerId).execCommand(request)
  readonly terminalProgram = (id: string) => this.#of(id).terminalProgram(id)
}
