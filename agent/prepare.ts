import type { Log } from '../base/log.ts'
import type { BundlePart, Isolator, IsolatorRequest } from '../isolators/isolator.ts'

/** All or nothing: if one isolator refuses, every one that was asked is undone, newest first. */
export async function prepareAll(
  isolators: readonly Isolator[],
  request: IsolatorRequest,
  log: Log,
  signal: AbortSignal
): Promise<readonly BundlePart[]> {
  const parts: BundlePart[] = []
  const asked: Isolator[] = []
  try {
    for (const isolator of isolators) {
      signal.throwIfAborted()
      asked.unshift(isolator)
      parts.push(await isolator.prepare(request, signal))
    }
    return parts
  } catch (cause) {
    await cleanUpAll(asked, request, log)
    throw cause
  }
}

/** Cleans up in the order given. A failing clean-up is logged and does not hide what came before; the rest is still cleaned. */
export async function cleanUpAll(isolators: readonly Isolator[], request: IsolatorRequest, log: Log): Promise<boolean> {
  let clean = true
  for (const isolator of isolators) {
    try {
      await isolator.cleanup(request)
    } catch (error) {
      clean = false
      log.error({ error, isolator: isolator.name, containerId: request.containerId }, 'isolator.cleanup_failed')
    }
  }
  return clean
}
