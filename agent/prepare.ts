import { channel } from 'node:diagnostics_channel'
import type { Log } from '../base/log.ts'
import type { BundlePart, Isolator, IsolatorRequest } from '../isolators/isolator.ts'
import { checkTogether, type NamedPart } from '../isolators/part.ts'

/** What a step of an isolator took; for `npm run bench -- launch --trace`, without which nobody listens. */
const traced = channel('hearth.isolator')

/** All or nothing: if one isolator refuses, every one that was asked is undone, newest first. */
export async function prepareAll(
  isolators: readonly Isolator[],
  request: IsolatorRequest,
  log: Log,
  signal: AbortSignal
): Promise<readonly BundlePart[]> {
  const parts: NamedPart[] = []
  const asked: Isolator[] = []
  try {
    for (const isolator of isolators) {
      signal.throwIfAborted()
      asked.unshift(isolator)
      const sinceNs = traced.hasSubscribers ? process.hrtime.bigint() : undefined
      parts.push({ isolator: isolator.name, part: await isolator.prepare(request, signal) })
      if (sinceNs !== undefined) traced.publish({ isolator: isolator.name, sinceNs, untilNs: process.hrtime.bigint() })
    }
    checkTogether(parts)
    return parts.map(({ part }) => part)
  } catch (cause) {
    await cleanUpAll(asked, request, log)
    throw cause
  }
}

/** Cleans up in the order given. A failing clean-up is logged and does not hide what came before; the rest is still cleaned. */
export async function cleanUpAll(isolators: readonly Isolator[], request: IsolatorRequest, log: Log): Promise<boolean> {
  let clean = true
  const { signal } = new AbortController()
  for (const isolator of isolators) {
    try {
      await isolator.cleanup(request, signal)
    } catch (error) {
      clean = false
      log.error({ error, isolator: isolator.name, containerId: request.containerId }, 'isolator.cleanup_failed')
    }
  }
  return clean
}

/** Once the container's first process exists; the first that refuses says why the container must end. */
export async function isolateAll(
  isolators: readonly Isolator[],
  request: IsolatorRequest,
  pid: number,
  signal: AbortSignal
): Promise<void> {
  for (const isolator of isolators) await isolator.isolate?.(request, pid, signal)
}

/** For a container that outlived the agent. One that cannot take it over is told; the container goes on as it is. */
export async function recoverAll(isolators: readonly Isolator[], request: IsolatorRequest, log: Log): Promise<void> {
  const { signal } = new AbortController()
  for (const isolator of isolators) {
    try {
      await isolator.recover?.(request, signal)
    } catch (error) {
      log.error({ error, isolator: isolator.name, containerId: request.containerId }, 'isolator.recover_failed')
    }
  }
}
