import { Fault } from '../../base/fault.ts'
import { checkArtifacts } from '../../proto/artifacts.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Artifact, KillPolicy, Resource, TaskLimits } from '../../proto/gen/messages.ts'
import { anyRole, role } from '../../proto/ids.ts'
import { unfitLength } from '../../proto/lease-length.ts'
import { checkLimits } from '../../proto/limits.ts'
import { describeResources, type Resources, scalar, scalarOf } from '../../proto/resources.ts'
import { signalName } from '../../proto/signal.ts'
import { usualResources } from '../../proto/tenant-policy.ts'
import type { NodeView } from '../nodes.ts'
import type { TaskOrder } from './ports.ts'
import { type ProbesRequest, probesOf, type RestartRequest, restartOf } from './restart-request.ts'
import { type WallsJson, wallsOf } from './walls-json.ts'

/** As its schema lets it through; absent: the kernel's default. */
export interface LimitsRequest extends Omit<Init<TaskLimits>, 'oomPolicy'> {
  readonly oomPolicy?: 'process' | 'task'
}

/** The body of `POST /v1/tasks`, as its schema lets it through. */
export interface TaskRequest {
  readonly name?: string
  readonly image: string
  readonly arguments?: readonly string[]
  readonly environment?: readonly { readonly name: string; readonly value: string }[]
  readonly workingDirectory?: string
  readonly user?: string
  readonly terminal?: boolean
  readonly openStdin?: boolean
  readonly rows?: number
  readonly columns?: number
  readonly mounts?: readonly { readonly source: string; readonly target: string; readonly readOnly?: boolean }[]
  readonly network?: 'host' | 'none'
  readonly milliCpu?: number
  readonly memoryBytes?: number
  readonly diskBytes?: number
  readonly limits?: LimitsRequest
  /** How many of the nodes' devices, by name. */
  readonly devices?: Readonly<Record<string, number>>
  readonly labels?: Readonly<Record<string, string>>
  readonly role?: string
  readonly runtime?: 'runc' | 'crun' | 'docker'
  readonly seccomp?: string
  readonly walls?: Partial<WallsJson>
  readonly killPolicy?: Init<KillPolicy>
  readonly logBudget?: { readonly fileBytes?: number; readonly files?: number; readonly maxAgeMs?: number }
  readonly restart?: RestartRequest
  readonly probes?: ProbesRequest
  readonly lease?: { readonly lengthMs: number }
  readonly removeWhenDone?: boolean
  readonly pull?: 'missing' | 'always' | 'never'
  readonly artifacts?: readonly Init<Artifact>[]
}

/**
 * What was asked for becomes a resource of the task: reserved for it and its limit at once. What was not asked for is neither:
 * there is no default reservation, so that no limit can come out of one.
 */
export function orderOf(request: TaskRequest): TaskOrder {
  const limits = limitsOf(request.limits)
  const resources = asked(request)
  checkLimits(completeMessage('TaskDefinition', { resources, ...(limits === undefined ? {} : { limits }) }))
  const { arguments: args, environment, workingDirectory, user, terminal, openStdin, rows, columns } = request
  checkWords(request)
  checkLease(request)
  return {
    role: role(request.role ?? anyRole),
    removeWhenDone: request.removeWhenDone ?? false,
    definition: {
      name: request.name,
      image: request.image,
      resources,
      ...(limits === undefined ? {} : { limits }),
      process: { arguments: args, environment, workingDirectory, user, terminal, openStdin, rows, columns },
      mounts: request.mounts,
      network: { mode: request.network ?? 'host' },
      killPolicy: request.killPolicy && { ...request.killPolicy, signal: knownSignal(request.killPolicy.signal) },
      // Who asks for the removal has seen the output, or did not want it.
      logBudget: request.removeWhenDone ? { ...request.logBudget, endsWithTask: true } : request.logBudget,
      labels: Object.entries(request.labels ?? {}).map(([key, value]) => ({ key, value })),
      runtime: request.runtime,
      seccomp: request.seccomp,
      walls: wallsOf(request.walls),
      restart: restartOf(request.restart),
      probes: probesOf(request.probes, request.network),
      lease: request.lease,
      pull: request.pull,
      artifacts: artifactsOf(request.artifacts)
    }
  }
}

function artifactsOf(asked: TaskRequest['artifacts'] = []): readonly Artifact[] {
  const artifacts = asked.map((one) => completeMessage('Artifact', one))
  checkArtifacts(artifacts)
  return artifacts
}

function checkLease({ lease }: TaskRequest): void {
  const unfit = lease && unfitLength(lease.lengthMs)
  if (unfit !== undefined) throw new Fault('invalid', unfit)
}

/** What execve takes as one argument or one NAME=value without its zero byte (linux/binfmts.h, MAX_ARG_STRLEN). */
const maxWordBytes = 131_071

function checkWords({ arguments: args = [], environment = [] }: TaskRequest): void {
  const check = (what: string, text: string): void => {
    const bytes = Buffer.byteLength(text)
    if (bytes <= maxWordBytes) return
    const hint = 'put it into a file of the image or of a mount'
    throw new Fault('invalid', `${what} has ${bytes} bytes and Linux takes at most ${maxWordBytes}; ${hint}`, { bytes })
  }
  for (const [i, text] of args.entries()) check(`argument ${i + 1}`, text)
  for (const { name, value } of environment) check(`the variable ${name.slice(0, 100)}`, `${name}=${value}`)
}

/** `SIGTERM` for `TERM` and `15`; nothing for nothing, which is the default. Throws `Fault('invalid')` for what is no signal. */
export function knownSignal(text: string | undefined): string {
  if (text === undefined || text === '') return ''
  const name = signalName(text)
  if (name !== undefined) return name
  throw new Fault('invalid', `there is no signal ${JSON.stringify(text)}: signals are called SIGTERM, SIGINT and so on`)
}

export const limitsOf = (asked: LimitsRequest | undefined): Init<TaskLimits> | undefined =>
  asked && { ...asked, oomPolicy: asked.oomPolicy === 'task' ? 'oom_task' : 'unspecified_oom' }

/** Exclusive cores are CPUs like others, and then the limit at once. */
export function asked(
  request: Pick<TaskRequest, 'devices' | 'milliCpu' | 'memoryBytes' | 'diskBytes' | 'limits'>
): readonly Resource[] {
  const { exclusiveCores } = request.limits ?? {}
  const amounts = [
    ['cpus', request.milliCpu ?? (exclusiveCores === undefined ? undefined : exclusiveCores * 1000)],
    ['mem', request.memoryBytes],
    ['disk', request.diskBytes]
  ] as const
  const devices = Object.entries(request.devices ?? {}).map(([name, count]) => scalar(deviceName(name), count * 1000))
  return [...devices, ...amounts.flatMap(([name, amount]) => (amount === undefined ? [] : [scalar(name, amount)]))]
}

/** Throws `Fault('invalid')` for the name of a resource that is counted in other units. */
function deviceName(name: string): string {
  if (!usualResources.includes(name)) return name
  throw new Fault('invalid', `${name} is no device: it has a field of its own`)
}

/** Throws `Fault('invalid')` where every node that was ever seen lacks one of these capabilities. */
export function checkAbility(needs: readonly string[], nodes: readonly NodeView[]): void {
  const here = nodes.filter((n) => n.condition !== 'agent_gone')
  const [first] = here
  for (const name of needs) {
    if (first === undefined || here.some((n) => n.capabilities.some((c) => c.name === name && c.present))) continue
    const why = first.capabilities.find((c) => c.name === name)?.detail ?? 'its agent does not know it'
    throw new Fault('invalid', `no node has ${name}, which the task needs: on ${first.hostname}, ${why}`, { capability: name })
  }
}

/** Throws `Fault('invalid')` where no node that was ever seen could hold this. With no node at all everything may wait. */
export function checkCanFit(resources: Resources, nodes: readonly NodeView[]): void {
  const here = nodes.filter((n) => n.condition !== 'agent_gone')
  const names = new Set(resources.map((r) => r.name))
  const couldHold = (n: NodeView): boolean => [...names].every((name) => scalarOf(n.resources, name) >= scalarOf(resources, name))
  if (here.length === 0 || here.some(couldHold)) return
  const missed = [...names].find((name) => here.every((n) => scalarOf(n.resources, name) < scalarOf(resources, name)))
  const measure = missed ?? 'mem'
  const largest = here.reduce((a, b) => (scalarOf(b.resources, measure) > scalarOf(a.resources, measure) ? b : a))
  const has = describeResources(largest.resources.filter((r) => names.has(r.name)))
  throw new Fault(
    'invalid',
    `this can never fit: the task asks for ${describeResources(resources)}, and the largest node, ${largest.hostname}, has ${has} in all`,
    { hostname: largest.hostname }
  )
}
