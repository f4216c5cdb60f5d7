/** Why a task ended, as far as it can be known: the words of `hearth task explain`. */
export type CauseKind =
  | 'exit_code'
  | 'program_fault'
  | 'abort'
  | 'child_signal'
  | 'outside_signal'
  | 'memory_limit'
  | 'host_memory'
  | 'pids_limit'
  | 'disk_limit'
  | 'disk_full'
  | 'probe'
  | 'lease'
  | 'operator'
  | 'node_stop'
  | 'pod'
  | 'refusal'
  | 'node_reboot'
  | 'monitor_lost'

/** `proved`: something was seen that has no other explanation. `likely`: it fits best. `possible`: it cannot be ruled out. */
export type Certainty = 'proved' | 'likely' | 'possible'

export interface Cause {
  readonly kind: CauseKind
  readonly certainty: Certainty
  /** One sentence without its full stop. */
  readonly summary: string
  /** What was seen, each in one line. */
  readonly evidence: readonly string[]
  /** What to do next. */
  readonly advice: string
}

const mostCauses = 4
const mostEvidence = 4
const mostText = 300

/** A status travels and is kept: its causes have a size that nobody's output can stretch. */
export const bounded = (causes: readonly Cause[]): Cause[] =>
  causes.slice(0, mostCauses).map((cause) => ({
    ...cause,
    summary: cause.summary.slice(0, mostText),
    evidence: cause.evidence.slice(0, mostEvidence).map((line) => line.slice(0, mostText))
  }))

export const adviceOf: Readonly<Record<CauseKind, string>> = {
  exit_code: 'read the last lines of its log: the program ended itself and knows why',
  program_fault: 'the program is broken: run it under a debugger, or with an older build',
  abort: 'the program gave up by itself: read the last lines of its log',
  child_signal: 'look for what signals the program’s children, and for children that end themselves',
  outside_signal: 'ask who works on this node: nothing of Hearth sent that signal',
  memory_limit: 'give it more memory (--memory), or find out what it needs it for',
  host_memory: 'the node has promised more memory than it has: give tasks memory limits, or run fewer of them here',
  pids_limit: 'it starts more processes and threads than it may: look for ones that are never waited for',
  disk_limit: 'give it more disk (--disk), or let it write less',
  disk_full: 'make room on the file system it wrote to (hearth node health shows the node’s own)',
  probe: 'read the log around the failed probes; give it a longer start-up time if it was still starting',
  lease: 'the node could not reach a master in time: look at the network between them',
  operator: 'nothing: it was asked for',
  pod: 'nothing where its pod ended well; else look at the container that the message names',
  node_stop: 'nothing: the node’s workloads were stopped',
  refusal: 'change what the message names, and run it again',
  node_reboot: 'look into the node’s own log for why it restarted',
  monitor_lost: 'look for who kills conmon on this node: without it no exit code is kept'
}
