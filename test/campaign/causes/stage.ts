import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../../../base/clock.ts'
import type { Random } from '../../../base/random.ts'
import { cgroupDirectories, readCgroupLayout } from '../../../isolators/cgroup2/layout.ts'
import type { Init } from '../../../proto/codec.ts'
import type { TaskDefinition, TaskStatus } from '../../../proto/gen/messages.ts'
import { scalar } from '../../../proto/resources.ts'
import { isTerminal } from '../../../proto/task-state.ts'
import { frameworkId } from '../master.ts'
import { marksMount, type World } from '../world.ts'
import { type Wrong, writeCrasher } from './crashers.ts'

const mebibyte = 1024 * 1024
const patienceMs = 60_000

/** What one failure has to play with: a container that it launches, from within and from outside. */
export class Stage {
  readonly world: World
  readonly containerId: string
  readonly random: Random
  readonly signal: AbortSignal

  constructor(world: World, containerId: string, random: Random, signal: AbortSignal) {
    this.world = world
    this.containerId = containerId
    this.random = random
    this.signal = signal
    mkdirSync(this.outside, { recursive: true, mode: 0o777 })
  }

  /** The task's own folder, as the host sees it and as the task does. */
  get outside(): string {
    return join(this.world.places.marksDir, this.containerId)
  }
  get inside(): string {
    return `${marksMount}/${this.containerId}`
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.random.between(0, choices.length - 1)] as T
  }

  /** Shell words that take a while that nobody knows, and say something or nothing. */
  prelude(): string {
    const say = this.pick(['', 'echo working; ', 'echo something happened >&2; ', 'seq 1 200; '])
    return `${say}${this.pick(['', 'sleep 0.05; ', 'sleep 0.3; '])}`
  }

  crasher(wrong: Wrong): string {
    writeCrasher(join(this.outside, 'crasher'), wrong)
    return `${this.inside}/crasher`
  }

  launch(words: readonly string[], more: Init<TaskDefinition> & { readonly memoryMiB?: number } = {}): void {
    const { memoryMiB = 64, ...definition } = more
    this.world.master.launch(this.containerId, {
      frameworkId,
      role: '*',
      tasks: [
        {
          taskId: this.containerId,
          name: 'cause',
          image: 'host',
          resources: [scalar('cpus', 1_000), scalar('mem', memoryMiB * mebibyte)],
          mounts: [{ source: this.world.places.marksDir, target: marksMount, readOnly: false }],
          network: { mode: 'host' },
          ...definition,
          process: { ...definition.process, arguments: [...words] }
        }
      ]
    })
  }

  shell(script: string, more: Parameters<Stage['launch']>[1] = {}): void {
    this.launch(['sh', '-c', script], more)
  }

  /** A program that lasts, running for sure: it has marked its folder. */
  async lasting(script = 'while :; do sleep 0.05; done', more: Parameters<Stage['launch']>[1] = {}): Promise<number> {
    this.shell(`: > ${this.inside}/runs; ${script}`, more)
    await this.until(() => existsSync(join(this.outside, 'runs')))
    await this.world.master.until(() => this.world.master.has(this.containerId, 'running'), this.#patience())
    return this.pid('pid')
  }

  pid(file: 'pid' | 'conmon.pid'): number {
    return Number(readFileSync(join(this.world.places.stateDir, 'run/c', this.containerId, file), 'utf8'))
  }

  /** Lets a waiting script go on: it waits with `until [ -e … ]`. */
  mark(name: string): void {
    writeFileSync(join(this.outside, name), '')
  }

  /** Directories of a cgroup in all hierarchies. */
  cgroups(path: string): readonly string[] {
    return cgroupDirectories(readCgroupLayout(), join(this.world.places.cgroupParent, path))
  }

  run(command: string, ...words: string[]): void {
    execFileSync(command, words)
  }

  wait(ms: number): Promise<void> {
    return pause(ms, undefined, { signal: this.signal })
  }

  async until(holds: () => boolean): Promise<void> {
    const late = this.#patience()
    while (!holds()) {
      late.throwIfAborted()
      await pause(5)
    }
  }

  get hasEnded(): boolean {
    return this.#end() !== undefined
  }

  /** The last status, once it is one. */
  async ended(): Promise<TaskStatus> {
    await this.world.master.until(() => this.hasEnded, this.#patience())
    return this.#end() as TaskStatus
  }

  #end(): TaskStatus | undefined {
    return this.world.master.statuses.map(({ status }) => status).find((s) => s.containerId === this.containerId && isEnd(s))
  }

  #patience(): AbortSignal {
    return within(patienceMs, this.signal)
  }
}

const isEnd = ({ state }: TaskStatus): boolean => state !== 'unspecified_state' && isTerminal(state)
