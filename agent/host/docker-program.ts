import { statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Capability } from '../../proto/gen/messages.ts'

interface Config {
  /** Where Docker listens. */
  readonly dockerSocket: string
}

/** agent/host/docker-main.ts, beside the agent. */
export const dockerProgramOf = ({ dockerSocket }: Config): readonly string[] => [
  process.execPath,
  join(dirname(fileURLToPath(import.meta.url)), 'docker.cjs'),
  dockerSocket
]

/** Whether Docker answers is seen when it is needed (node-health/checks/docker.ts): a start of the agent waits for nobody. */
export function dockerCapability({ dockerSocket }: Config): Capability {
  const isSocket = statSync(dockerSocket, { throwIfNoEntry: false })?.isSocket() === true
  const detail = isSocket
    ? `Docker’s API at ${dockerSocket}`
    : `there is no Docker at ${dockerSocket}: install it and restart the agent, or name another with --docker-socket`
  return { name: 'runtime.docker', present: isSocket, detail }
}
