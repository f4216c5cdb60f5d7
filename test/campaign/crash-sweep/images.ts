import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { dockerArchive, rootfsArchive } from './archives.ts'
import { answerOf, endOf } from './local-call.ts'
import { registryImage } from './registry.ts'
import { finished, type Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

const importedImage = 'swept'

export async function importImage(s: Stage, isDocker: boolean): Promise<boolean> {
  const body = isDocker ? dockerArchive() : rootfsArchive()
  const answer = await answerOf(s, 'POST', `/v1/images?name=${importedImage}&kind=${isDocker ? 'auto' : 'rootfs'}`, body)
  return endOf(answer)?.['image'] !== undefined
}

/** Whoever imports tries again until it is done; what was told to be done must be there. */
async function importFinish(s: Stage, isDocker: boolean): Promise<readonly string[]> {
  for (let done = false; !done; ) {
    await s.settle('the agent to register', () => s.world.master.connected)
    done = await importImage(s, isDocker)
    if (!done && s.signal.aborted) return ['an image could not be imported again']
  }
  const task = s.task({ body: 'lines=1; echo 1', image: importedImage })
  await s.settle('the task of the imported image to end', () => s.hasEnded(task))
  return removeImage(s)
}

/** Pulls ahead, looks at every byte, and prunes what nobody uses: half of a pull must never be an image. */
async function pullImage(s: Stage): Promise<boolean> {
  const reference = encodeURIComponent(await registryImage())
  const answer = await answerOf(s, 'POST', `/v1/images/pull?reference=${reference}`)
  const verdict = endOf(await answerOf(s, 'POST', `/v1/images/verify?reference=${reference}&repair=true`))?.['verdict']
  return endOf(answer)?.['image'] !== undefined && verdict !== undefined
}

async function pullFinish(s: Stage): Promise<readonly string[]> {
  for (let done = false; !done; ) {
    await s.settle('the agent to register', () => s.world.master.connected)
    done = await pullImage(s)
    if (!done && s.signal.aborted) return ['an image could not be pulled again']
  }
  const task = s.task({ body: 'lines=1; echo 1', image: await registryImage() })
  await s.settle('the task of the pulled image to end', () => s.hasEnded(task))
  const reference = encodeURIComponent(await registryImage())
  const looked = endOf(await answerOf(s, 'POST', `/v1/images/verify?reference=${reference}`))
  const { damage } = (looked?.['verdict'] ?? {}) as { readonly damage?: readonly unknown[] }
  await answerOf(s, 'DELETE', `/v1/images/${reference}`)
  await answerOf(s, 'POST', '/v1/images/prune')
  return damage === undefined || damage.length === 0 ? [] : [`a pulled image is damaged: ${JSON.stringify(damage)}`]
}

export const pulling: Scenario = {
  name: 'pull',
  variants: ['plain', 'restart', 'away'],
  prepare: async () => undefined,
  act: async (s) => {
    await pullImage(s)
    return []
  },
  middle: (s) => existsSync(join(s.world.places.stateDir, 'agent/images/drafts')),
  meanwhile: () => true,
  finish: pullFinish,
  ends: [finished],
  counts: true,
  launches: true
}

export async function removeImage(s: Stage): Promise<readonly string[]> {
  await answerOf(s, 'DELETE', `/v1/images/${importedImage}`)
  await answerOf(s, 'POST', '/v1/images/collect')
  return []
}

/** A disk that refuses, or an agent that died, fails an import: whoever imports tries again. */
export const importing = (name: string, isDocker: boolean): Scenario => ({
  name,
  variants: isDocker ? ['plain'] : ['plain', 'restart', 'away'],
  prepare: async () => undefined,
  act: async (s) => {
    await importImage(s, isDocker)
    return []
  },
  middle: (s) => existsSync(join(s.world.places.stateDir, 'agent/images/drafts')),
  meanwhile: () => true,
  finish: (s) => importFinish(s, isDocker),
  ends: [finished],
  counts: true,
  launches: true
})

export async function collect(s: Stage): Promise<readonly string[]> {
  await answerOf(s, 'POST', '/v1/images/collect')
  return []
}
