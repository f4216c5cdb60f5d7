import type { MadeObject } from '../isolators/isolator.ts'
import type { HolderKind } from '../isolators/runtime/runtime.ts'
import type { ObjectRow, Probe, TaskDefinition } from '../proto/gen/messages.ts'
import { type Decided, decisionFacts, decisionOf } from './ending.ts'
import { type HealthCheck, probesOf } from './images/health-check.ts'
import type { Ledger, ResolvedImage } from './ports.ts'

/** Objects that every container has; the isolators name theirs through the journal, the runtime tells what it holds one by. */
const ownObjects = ['bundle', 'log_file'] as const

const madeKinds: readonly MadeObject['kind'][] = ['cgroup', 'overlay', 'sandbox_dir', 'lease_holder', 'other']

type ObjectKind = MadeObject['kind'] | HolderKind | (typeof ownObjects)[number]

const living: readonly HolderKind[] = ['conmon', 'docker_container']

/** The ledger's rows of what one container is made of: written before and after each thing is made, released when all is gone. */
export class AttemptObjects {
  readonly #containerId: string
  readonly #ledger: Pick<Ledger, 'view' | 'append'>
  readonly #bootId: string

  constructor(containerId: string, ledger: Pick<Ledger, 'view' | 'append'>, bootId: string) {
    this.#containerId = containerId
    this.#ledger = ledger
    this.#bootId = bootId
  }

  /** Of a container that is not yet removed; it keeps the image's layers from being collected. */
  get imageDigest(): string | undefined {
    return this.#rows().get(`bundle:${this.#containerId}`)?.facts['image']
  }

  /** The signal by which its image wants to be ended; empty where it says nothing. */
  get stopSignal(): string {
    return this.#rows().get(`bundle:${this.#containerId}`)?.facts['stopSignal'] ?? ''
  }

  /** The task's own, or what its image says of its health. */
  probesOf(task: TaskDefinition | undefined): readonly Probe[] {
    const text = this.#rows().get(`bundle:${this.#containerId}`)?.facts['healthCheck']
    return probesOf(task, text === undefined ? undefined : (JSON.parse(text) as HealthCheck))
  }

  /** When its first process began, in clock ticks of this boot; undefined where it was not seen running in this boot. */
  get startTicks(): number | undefined {
    const row = this.#holder
    const ticks = Number(row?.facts['startTicks'])
    return row?.bootId === this.#bootId && Number.isSafeInteger(ticks) && ticks > 0 ? ticks : undefined
  }

  /** Of the container's first process, once it was seen to run. */
  get pid(): number | undefined {
    const pid = Number(this.#holder?.facts['pid'])
    return Number.isInteger(pid) && pid > 0 ? pid : undefined
  }

  /** Why it has to end, as it was decided in this boot; undefined where nothing was. */
  get decided(): Decided {
    return decisionOf(this.#monitorFacts())
  }

  /** Of a running container: why it has to end. To be awaited before anything ends it, so that who finds it ended knows. */
  async decide(decided: NonNullable<Decided>): Promise<void> {
    await this.#write(this.#holderKind, 'done', { ...this.#monitorFacts(), ...decisionFacts(decided) })
  }

  async intend(
    { digest, stopSignal, healthCheck }: Pick<ResolvedImage, 'digest' | 'stopSignal' | 'healthCheck'>,
    holders: readonly HolderKind[]
  ): Promise<void> {
    const ofImage = {
      image: digest,
      ...(stopSignal === '' ? {} : { stopSignal }),
      ...(healthCheck === undefined ? {} : { healthCheck: JSON.stringify(healthCheck) })
    }
    await Promise.all([...ownObjects, ...holders].map((kind) => this.#write(kind, 'intent', kind === 'bundle' ? ofImage : {})))
  }

  /** What the isolators named and nobody has cleaned up yet. */
  get made(): readonly MadeObject[] {
    return [...this.#rows().values()].flatMap(({ kind, id }) =>
      (madeKinds as readonly string[]).includes(kind) ? [{ kind: kind as MadeObject['kind'], id }] : []
    )
  }

  readonly intendMade = (made: MadeObject): Promise<void> => this.#write(made.kind, 'intent', { path: made.id }, made.id)

  /** What is on record already, as after the agent's restart, is not written again. */
  async monitorRuns(facts: Readonly<Record<string, string>>): Promise<void> {
    const known = this.#holder
    const isKnown =
      known?.phase === 'done' &&
      known.bootId === this.#bootId &&
      Object.entries(facts).every(([name, value]) => known.facts[name] === value)
    if (!isKnown) await this.#write(this.#holderKind, 'done', { ...this.#monitorFacts(), ...facts })
  }

  async release(): Promise<void> {
    const released = [...this.#rows().values()].map((o) => ({ object: { ...o, phase: 'released' as const } }))
    await Promise.all(released.map((record) => this.#ledger.append(record, 'kernel')))
  }

  /** What lives as long as the container does: its row has the facts of it. */
  get #holder(): ObjectRow | undefined {
    return this.#rows().get(`${this.#holderKind}:${this.#containerId}`)
  }

  get #holderKind(): HolderKind {
    return living.find((kind) => this.#rows().has(`${kind}:${this.#containerId}`)) ?? 'conmon'
  }

  #monitorFacts(): Readonly<Record<string, string>> {
    const row = this.#holder
    return row?.phase === 'done' && row.bootId === this.#bootId ? row.facts : {}
  }

  #rows(): ReadonlyMap<string, ObjectRow> {
    return this.#ledger.view.tasks.get(this.#containerId)?.objects ?? new Map()
  }

  #write(kind: ObjectKind, phase: 'intent' | 'done', facts: Record<string, string>, id = this.#containerId): Promise<void> {
    const object = { kind, id, containerId: this.#containerId, phase, bootId: this.#bootId, facts }
    return this.#ledger.append({ object }, 'kernel')
  }
}
