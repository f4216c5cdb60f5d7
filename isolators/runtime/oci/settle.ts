import { readdirSync, readFileSync } from 'node:fs'
import type { Observed } from '../runtime.ts'

interface Parts {
  inspect(containerId: string): Promise<Observed>
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

const lookMs = 10

/**
 * What becomes of a container that its agent left in the middle of its launch or of its end. conmon and the runtime go on
 * without anybody: whoever looks while they are at it sees neither a running container nor an exit, and must not judge yet.
 * Resolves once it runs, or has ended, or nobody is at work on it any more; when the signal aborts, with what is seen then.
 */
export async function untilSettled(parts: Parts, containerId: string, signal: AbortSignal): Promise<Observed> {
  for (;;) {
    // Looked at first: where nobody is left, nothing changes after it.
    const { monitors, runtimes } = workersOf(containerId)
    const seen = await parts.inspect(containerId)
    const isOver = seen.kind === 'exited' || monitors + runtimes === 0
    if (isOver || signal.aborted || (seen.kind === 'running' && runtimes === 0)) return seen
    await parts.sleep(lookMs, signal).catch(() => undefined) // aborted: one last look
  }
}

/** Only conmon takes --exit-dir; every other process that has the id as an argument is the runtime, or its shim. */
function workersOf(containerId: string): { readonly monitors: number; readonly runtimes: number } {
  const words = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(argumentsOf)
    .filter((own) => own.includes(containerId))
  const monitors = words.filter((own) => own.includes('--exit-dir')).length
  return { monitors, runtimes: words.length - monitors }
}

function argumentsOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended
  }
}
