import type { Attempt } from './attempt.ts'
import { deviceAttempts, filteredCalls, guardedCalls } from './calls.ts'
import { bombs, fileAttempts } from './files.ts'
import { idAttempts } from './ids.ts'
import { kernelFiles, viewAttempts } from './views.ts'

/** Every attempt; a new one is a row of its file. */
export const attempts: readonly Attempt[] = [
  ...filteredCalls,
  ...guardedCalls,
  ...deviceAttempts,
  ...viewAttempts,
  ...kernelFiles,
  ...fileAttempts,
  ...idAttempts,
  ...bombs
]
