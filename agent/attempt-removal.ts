import type { Log } from '../base/log.ts'
import type { Isolator, IsolatorRequest } from '../isolators/isolator.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { AttemptObjects } from './attempt-objects.ts'
import { cleanUpAll } from './prepare.ts'

interface Parts {
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  readonly objects: AttemptObjects
  readonly log: Log
}

/**
 * Takes down what is left of a container; repeatable. What the ledger must know first is awaited before the last step. Resolves
 * with false where something could not be removed: its rows then stay.
 */
export async function clearAttempt(parts: Parts, bare: IsolatorRequest, told: Promise<void>): Promise<boolean> {
  const { runtime, isolators, objects, log } = parts
  await runtime.kill(bare.containerId)
  await runtime.remove(bare.containerId, new AbortController().signal)
  const clean = await cleanUpAll([...isolators].reverse(), bare, log)
  await told
  runtime.dropExit(bare.containerId)
  if (clean) await objects.release()
  return clean
}
