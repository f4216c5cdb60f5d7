import { get } from 'node:http'
import { type Check, type CheckPlan, rowsOf } from '../verdict.ts'

const timeoutMs = 5_000

/** Of a node that had Docker when its agent began: without it tasks of Docker's go on, and no other begins. */
export const dockerPlan = (socketPath: string): CheckPlan => ({
  kind: 'docker',
  run: async (signal) => [judgeDocker(socketPath, await ping(socketPath, signal))]
})

export function judgeDocker(socketPath: string, why: string | undefined): Check {
  if (why === undefined) return rowsOf('docker').ok(`Docker answers at ${socketPath}`)
  const what = `Docker does not answer at ${socketPath} (${why}): its tasks are watched again when it does, and no other can start`
  return rowsOf('docker').warning(what, 'start dockerd; tasks of other runtimes are not touched')
}

/** Undefined where it answers, else why it does not (Engine API, SystemPing). */
function ping(socketPath: string, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const either = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    const asked = get({ socketPath, path: '/_ping', agent: false, signal: either }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200 ? undefined : `status ${answer.statusCode ?? 0}`)
    })
    asked.once('error', (e) => resolve(e.message))
  })
}
