import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../../../base/clock.ts'
import { type Random, seededRandom } from '../../../base/random.ts'
import type { Init } from '../../../proto/codec.ts'
import type { TaskGroup } from '../../../proto/gen/messages.ts'
import { scalar } from '../../../proto/resources.ts'
import { channels, StreamFrameDecoder } from '../../../proto/stream-frame.ts'
import type { Expected, ExpectedTask } from '../invariants/expected.ts'
import { sequenceProblems } from '../invariants/logs.ts'
import { markedProgram } from '../invariants/marks.ts'
import { frameworkId } from '../master.ts'
import type { RunResult } from '../resume.ts'
import { marksMount, type World } from '../world.ts'

export const linesPerSecond = 50_000
const taskId = 'writer'
const mebibyte = 1024 * 1024
const files = 100
const endMs = 60_000
const settleMs = 20_000
/** conmon’s head of each line, and the numbers themselves. */
const bytesPerLine = 56

/** Catches up with the clock every hundredth of a second, with nothing but builtins of sh, until it is asked to stop. */
const writer = `
read -r up idle < /proc/uptime
begun=\${up%.*}\${up#*.} lines=0
while [ ! -e ${marksMount}/stop ]; do
  read -r up idle < /proc/uptime
  due=$(( (\${up%.*}\${up#*.} - begun) * ${linesPerSecond / 100} ))
  while [ $lines -lt $due ]; do lines=$((lines+1)); echo $lines; done
  sleep 0.01
done`

/** One writer under one agent after the other. */
export class LogRun {
  readonly #world: World
  readonly #kills: number
  readonly #random: Random
  readonly #signal: AbortSignal
  readonly #containerId: string
  readonly #fileBytes: number

  constructor(world: World, plan: { readonly seed: number; readonly kills: number }, signal: AbortSignal) {
    this.#world = world
    this.#kills = plan.kills
    this.#random = seededRandom(plan.seed)
    this.#signal = signal
    this.#containerId = createHash('sha256').update(`logs ${plan.seed}`).digest('hex').slice(0, 32)
    // With the smaller one conmon passes its own limit as well, and the oldest files go by the budget.
    this.#fileBytes = this.#random.between(0, 1) === 0 ? mebibyte : mebibyte / 2
  }

  async run(): Promise<RunResult> {
    const world = this.#world
    await world.startAndRegister(this.#signal)
    world.master.launch(this.#containerId, this.#group())
    await world.master.until(() => world.master.has(this.#containerId, 'running'), this.#patience(endMs))
    const begunMs = performance.now()
    for (let kill = 0; kill < this.#kills; kill += 1) {
      // One in three strikes from the start on; the others an agent that has had time to rotate.
      const registrations = world.master.registrations + (world.master.connected ? 0 : 1)
      if (this.#random.between(0, 2) > 0) await world.registered(registrations, this.#signal)
      await pause(this.#random.between(0, 1_200), undefined, { signal: this.#signal })
      await world.end('SIGKILL')
      await pause(this.#random.between(0, 1) === 0 ? 0 : this.#random.between(0, 300), undefined, { signal: this.#signal })
      world.start()
    }
    const writtenMs = performance.now() - begunMs
    writeFileSync(join(world.places.marksDir, 'stop'), '')
    await world.master.until(() => world.master.has(this.#containerId, 'finished'), this.#patience(endMs)).catch(() => undefined)
    return this.#judge(writtenMs)
  }

  async #judge(writtenMs: number): Promise<RunResult> {
    const { master } = this.#world
    const seen = this.#world.observe([this.#containerId])
    const lines = seen.executions.get(this.#containerId)?.[0]?.lines ?? 0
    const cut = lines * bytesPerLine > this.#fileBytes * files
    const task: ExpectedTask = {
      taskId,
      containerId: this.#containerId,
      wanted: 'ended',
      ends: [{ state: 'finished', reason: 'exited', exitCode: 0 }],
      executionsLeast: 1,
      counts: { cut }
    }
    const expected = (): Expected => ({ tasks: [task], statuses: master.statuses, agentRuns: true })
    const broken = await this.#world.settle(expected, settleMs, this.#signal)
    const told = sequenceProblems(await this.#taskLogs(), { last: lines, cut })
    const all = [...broken, ...told.map((problem) => `no log byte is lost or doubled: as \`task logs\` tells it, ${problem}`)]
    return {
      violations: [...new Set([...this.#world.problems, ...all])],
      counts: {
        kills: this.#kills,
        lines,
        writtenMs: Math.round(writtenMs),
        rotations: rotationsOf(seen.sandboxes.get(this.#containerId) ?? []),
        broken: all.filter((sentence) => sentence.startsWith('no log byte')).length
      }
    }
  }

  /** What a person gets to read, through the agent's own socket. */
  #taskLogs(): Promise<string> {
    const path = `/v1/tasks/${frameworkId}/${taskId}/logs?stream=stdout`
    return new Promise((resolve, reject) => {
      const parts: Uint8Array[] = []
      const decoder = new StreamFrameDecoder()
      get({ socketPath: this.#world.socketPath, path }, (answer) => {
        answer.on('data', (chunk: Buffer) => {
          for (const { channel, data } of decoder.push(chunk)) if (channel === channels.stdout) parts.push(Buffer.from(data))
        })
        answer.on('error', reject)
        answer.on('end', () => resolve(Buffer.concat(parts).toString('latin1')))
      }).on('error', reject)
    })
  }

  #patience(ms: number): AbortSignal {
    return within(ms, this.#signal)
  }

  #group(): Init<TaskGroup> {
    const { marksDir } = this.#world.places
    return {
      frameworkId,
      role: '*',
      tasks: [
        {
          taskId,
          name: taskId,
          image: 'host',
          resources: [scalar('cpus', 2_000), scalar('mem', 64 * mebibyte)],
          process: { arguments: ['sh', '-c', markedProgram(marksMount, writer)] },
          mounts: [{ source: marksDir, target: marksMount, readOnly: false }],
          network: { mode: 'host' },
          logBudget: { fileBytes: this.#fileBytes, files }
        }
      ]
    }
  }
}

/** Of the files that are kept; those that went by the budget are not counted. */
const rotationsOf = (names: readonly string[]): number => names.filter((name) => /^log\.\d+$/.test(name)).length
