import type { Reason } from '../proto/gen/messages.ts'
import { showSignal } from './output/task.ts'

/** What a task's status or an ended task says about its end. */
export interface Ending {
  readonly exitCode?: number | null
  readonly signal?: number | null
  readonly reason?: Reason | null
  readonly message?: string | null
}

/** docker's codes for a program that never ran. */
const couldNotRun = 125
const notExecutable = 126
const notFound = 127

interface Outcome {
  readonly code: number
  /** Only where the program itself cannot have told why it ended. */
  readonly sentence: string | undefined
}

/** The command's exit code is the program's: 128 + n where a signal ended it, docker's codes where it never ran. */
export function outcomeOf(ending: Ending): Outcome {
  const signal = ending.signal ?? 0
  if (signal > 0) return { code: 128 + signal, sentence: limitSentence(ending, `the task was ended by ${showSignal(signal)}`) }
  if (typeof ending.exitCode === 'number') return { code: ending.exitCode, sentence: limitSentence(ending, '') }
  return neverRan(ending)
}

function neverRan({ reason, message }: Ending): Outcome {
  const said = message === '' || message === null ? undefined : message
  if (reason === 'program_not_found') return { code: notFound, sentence: said ?? 'the program does not exist in the image' }
  if (reason === 'program_not_executable') return { code: notExecutable, sentence: said ?? 'the program cannot be executed' }
  const why = (reason ?? 'unspecified_reason').replaceAll('_', ' ')
  return { code: couldNotRun, sentence: said ?? `the task could not run (${why})` }
}

/** The limits end a program from outside, so its own output does not tell. */
function limitSentence({ reason, message }: Ending, otherwise: string): string | undefined {
  return reason?.startsWith('limit_') ? message || otherwise : undefined
}
