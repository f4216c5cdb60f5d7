import { type Check, compareVerdicts } from './verdict.ts'

/** Kinds of new work that a node can be unfit for. What runs is never touched. */
export type Work = 'launch' | 'image-import'

const anything: readonly Work[] = ['launch', 'image-import']

/**
 * What a FAILURE of a kind endangers; a kind that is not here endangers nothing. An operator's own check that fails keeps new
 * tasks away: that is what it is for.
 */
const endangered: Readonly<Record<string, readonly Work[]>> = {
  kernel: anything,
  cgroups: anything,
  disk: anything,
  inodes: anything,
  'disk.latency': anything,
  ledger: anything,
  memory: ['launch'],
  'pressure.memory': anything,
  conntrack: ['launch'],
  files: anything,
  'files.agent': anything,
  threads: ['launch'],
  'inotify.instances': ['launch'],
  runtimes: ['launch'],
  images: ['image-import'],
  'agent.loop': ['launch'],
  isolators: ['launch'],
  own: ['launch']
}

/** Kinds with a row in the table, for the manual's test. */
export const dangerousKinds: readonly string[] = Object.keys(endangered)

export const endangeredBy = (check: Pick<Check, 'kind' | 'verdict'>): readonly Work[] =>
  check.verdict === 'FAILURE' ? (endangered[check.kind] ?? []) : []

/** The sentence with which new work is refused; undefined where nothing speaks against it. */
export function refusalOf(checks: readonly Check[], work: Work): string | undefined {
  const [first] = checks.filter((check) => endangeredBy(check).includes(work))
  return first === undefined ? undefined : `this node takes no new work: ${sentenceOf(first)}`
}

/** `disk /var/lib/hearth: 1.0 MiB of 2.0 GiB free (0 %): full`. */
export const sentenceOf = ({ kind, subject, reason }: Check): string => `${kind}${subject === '' ? '' : ` ${subject}`}: ${reason}`

/** Worst first, then by name. */
export const inOrderOfWeight = (checks: readonly Check[]): readonly Check[] =>
  [...checks].sort(
    (a, b) => compareVerdicts(b.verdict, a.verdict) || compareText(a.kind, b.kind) || compareText(a.subject, b.subject)
  )

const compareText = (a: string, b: string): number => (a < b ? -1 : Number(a > b))
