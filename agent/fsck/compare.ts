import { isTerminal } from '../../proto/task-state.ts'
import type { LedgerTask, LedgerView } from '../ports.ts'

/** What the ledger says should be there against what is there. Pure. */

export const fsckKinds = [
  'cgroup',
  'bundle',
  'runtime_state',
  'conmon',
  'docker_container',
  'exit_file',
  'lease',
  'overlay',
  'log_file',
  'sandbox_dir',
  'mount',
  'network_namespace',
  'link',
  'nft_table',
  'nft_element',
  'loop_device',
  'layer',
  'shifted_view',
  'image',
  'kept_log'
] as const
export type FsckKind = (typeof fsckKinds)[number]

/** One object of a kind as the host shows it. */
export interface Seen {
  readonly kind: FsckKind
  /** Absolute path, `pid start-ticks` of a process, or a name: by kind, as observe.ts and what it imports say. */
  readonly id: string
  /** Empty where the object does not name one. */
  readonly containerId: string
  /** Its place or its words prove that it is this agent's own; else why they do not. */
  readonly isOurs: true | string
  /** Something other than the ledger owns it. */
  readonly isOwned?: true
  /** What about it cannot be so; absent where it is sound. */
  readonly odd?: string
}

export interface Finding {
  readonly kind: FsckKind
  readonly id: string
  readonly containerId: string
  readonly verdict: 'absent' | 'unowned' | 'different'
  readonly why: string
  readonly isOurs: boolean
}

type Stage = 'launching' | 'live' | 'ending' | 'over'
type Expectation = 'must' | 'may' | 'not'

const never = { launching: 'not', live: 'not', ending: 'not', over: 'not' } as const
const untilOver = { launching: 'may', live: 'may', ending: 'may', over: 'not' } as const

/** Whether an object belongs to a task, by how far the task is. */
const expectations: Readonly<Record<FsckKind, Readonly<Record<Stage, Expectation>>>> = {
  cgroup: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  bundle: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  runtime_state: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  conmon: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  docker_container: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  exit_file: untilOver,
  lease: untilOver,
  overlay: { launching: 'may', live: 'must', ending: 'may', over: 'not' },
  log_file: { launching: 'may', live: 'must', ending: 'may', over: 'may' },
  sandbox_dir: { launching: 'may', live: 'must', ending: 'may', over: 'may' },
  mount: never,
  network_namespace: untilOver,
  link: untilOver,
  nft_table: untilOver,
  nft_element: untilOver,
  loop_device: untilOver,
  // Of the image store, and of what is kept of removed tasks.
  layer: never,
  shifted_view: never,
  image: never,
  kept_log: never
}

/** Of what a task must have. */
const absentWhy: Readonly<Partial<Record<FsckKind, string>>> = {
  cgroup: 'the task runs by the ledger, and its cgroup is gone: its end is on its way, or was lost',
  bundle: 'its bundle is gone: exec, attach and a rebuild of the ledger are not possible until the task has ended',
  runtime_state: 'the runtime knows nothing of it: exec is not possible until the task has ended',
  conmon: 'its monitor is gone: the task goes on, its output is lost and its exit code will be; restart the task when you can',
  docker_container: 'Docker has not got it any more, whoever removed it: its end is on its way',
  overlay: 'its writable layer is gone under it: end the task and start it again',
  log_file: 'its log is gone: restart the task to have one again',
  sandbox_dir: 'its sandbox directory is gone under it: end the task and start it again'
}

function stageOf({ latest, objects }: LedgerTask): Stage {
  const state = latest?.state ?? 'staging'
  if (state !== 'unspecified_state' && isTerminal(state)) return objects.size > 0 ? 'ending' : 'over'
  return state === 'running' || state === 'killing' ? 'live' : 'launching'
}

/** Every difference, in the order of the kinds. */
export function compare(view: Pick<LedgerView, 'tasks' | 'objects'>, seen: readonly Seen[]): readonly Finding[] {
  const there = new Set(seen.map((s) => `${s.kind} ${s.containerId}`))
  const findings = seen.flatMap((s) => judge(view, s))
  for (const [containerId, task] of view.tasks) {
    const stage = stageOf(task)
    for (const kind of fsckKinds) {
      if (expectations[kind][stage] !== 'must' || isOfAnother(kind, task) || there.has(`${kind} ${containerId}`)) continue
      findings.push({ kind, id: containerId, containerId, verdict: 'absent', why: absentWhy[kind] ?? '', isOurs: true })
    }
  }
  return findings.sort((a, b) => fsckKinds.indexOf(a.kind) - fsckKinds.indexOf(b.kind))
}

/** Kinds by which one runtime holds its containers and the other does not. */
const ofOci: readonly FsckKind[] = ['conmon', 'runtime_state']

const isOfAnother = (kind: FsckKind, { row }: LedgerTask): boolean =>
  row.group?.tasks[0]?.runtime === 'docker' ? ofOci.includes(kind) : kind === 'docker_container'

function judge(view: Pick<LedgerView, 'tasks' | 'objects'>, seen: Seen): Finding[] {
  const { kind, id, containerId, isOurs, odd } = seen
  const task = view.tasks.get(containerId)
  const finding = { kind, id, containerId, isOurs: isOurs === true }
  const belongs = task !== undefined && expectations[kind][stageOf(task)] !== 'not'
  if (belongs || seen.isOwned === true || view.objects.has(`${kind}:${id}`))
    return odd === undefined ? [] : [{ ...finding, verdict: 'different', why: odd }]
  const noOwner = containerId === '' && odd !== undefined ? odd : 'no row of the ledger owns it'
  const whose = task === undefined ? noOwner : 'its task has ended and was cleaned up'
  return [{ ...finding, verdict: 'unowned', why: isOurs === true ? whose : `${whose}; ${isOurs}` }]
}

export const findingKey = (f: Finding): string => `${f.verdict} ${f.kind} ${f.id}`

export type OrphanCounts = Readonly<Record<FsckKind, number>>

/** How many of each kind are present and unowned. */
export function countOrphans(findings: readonly Finding[]): OrphanCounts {
  const counts = Object.fromEntries(fsckKinds.map((kind) => [kind, 0])) as Record<FsckKind, number>
  for (const { kind, verdict } of findings) if (verdict === 'unowned') counts[kind] += 1
  return counts
}
