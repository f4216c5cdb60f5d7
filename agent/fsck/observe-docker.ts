import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Exec } from '../../base/exec.ts'
import { Fault, isFault } from '../../base/fault.ts'
import { isContainerId } from '../../proto/ids.ts'
import type { Seen } from './compare.ts'

/** Containers that Docker has of this agent. Where Docker was never asked for one, nobody asks it now. */

interface Places {
  readonly stateDir: string
  readonly agentId: string
  /** Command line of agent/host/docker-main.ts, with Docker's socket. */
  readonly dockerProgram: readonly string[]
}

export const dockerAskedDir = (stateDir: string): string => join(stateDir, 'agent/docker')

const timeoutMs = 20_000

export async function observeDocker(
  places: Places,
  exec: Exec
): Promise<{ readonly seen: readonly Seen[]; readonly unseen: readonly string[] }> {
  if (!existsSync(dockerAskedDir(places.stateDir))) return { seen: [], unseen: [] }
  try {
    const lines = (await runDocker(exec, places, ['list', `org.hearth.agent=${places.agentId}`])).split('\n')
    return { seen: lines.filter((line) => line !== '').flatMap(seenContainer), unseen: [] }
  } catch (e) {
    if (!isFault(e)) throw e
    return { seen: [], unseen: [`containers of Docker: ${e.message}`] }
  }
}

function seenContainer(line: string): readonly Seen[] {
  const { name } = JSON.parse(line) as { readonly name: string }
  const containerId = name.replace(/^hearth-/, '')
  if (isContainerId(containerId)) return [{ kind: 'docker_container', id: name, containerId, isOurs: true }]
  return [{ kind: 'docker_container', id: name, containerId: '', isOurs: 'its name is no container’s of Hearth' }]
}

export const removeDocker = async (exec: Exec, places: Places, name: string): Promise<void> =>
  void (await runDocker(exec, places, ['remove', name]))

async function runDocker(exec: Exec, { dockerProgram }: Places, words: readonly string[]): Promise<string> {
  const [program = '', ...first] = dockerProgram
  const { code, stdout, stderr } = await exec.run(program, [...first, ...words], { timeoutMs }, new AbortController().signal)
  if (code !== 0) throw new Fault('unavailable', stderr.trim().split('\n')[0] ?? 'Docker did not answer')
  return stdout
}
