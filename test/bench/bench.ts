import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { makeBusyboxLayer } from '../support/busybox-layer.ts'
import { type AgentOptions, AgentUnderTest } from './agent-under-test.ts'
import type { Cleanup } from './cleanup.ts'
import { isThere } from './machine.ts'
import type { RaftWish } from './raft.ts'
import type { Report } from './report.ts'

export type Outcome = Pick<Report, 'rows' | 'goals' | 'notes'>

/** What every bench gets: a directory of its own, programs, a way to be stopped. */
export class Bench {
  readonly root: string
  readonly directory: string
  readonly cleanup: Cleanup
  readonly signal: AbortSignal
  readonly n: number
  readonly trace: boolean
  readonly raft: RaftWish
  readonly programs = {
    conmon: '/usr/bin/conmon',
    runc: '/usr/sbin/runc',
    crun: '/usr/bin/crun',
    dockerd: 'dockerd',
    containerd: 'containerd'
  }
  readonly rootfs: string

  constructor(
    parts: { readonly cleanup: Cleanup; readonly signal: AbortSignal },
    config: Pick<Bench, 'root' | 'directory' | 'n' | 'trace' | 'raft'>
  ) {
    this.cleanup = parts.cleanup
    this.signal = parts.signal
    this.root = config.root
    this.directory = config.directory
    this.n = config.n
    this.trace = config.trace
    this.raft = config.raft
    this.rootfs = makeBusyboxLayer(this.folder('rootfs'))
  }

  folder(name: string): string {
    const path = join(this.directory, name)
    mkdirSync(path, { recursive: true, mode: 0o755 })
    return path
  }

  has(program: keyof Bench['programs']): boolean {
    return isThere(this.programs[program])
  }

  /** A registered agent that has the bench's image, in `folder(name)`. */
  async startAgent(name: string, more: Partial<AgentOptions> = {}): Promise<AgentUnderTest> {
    const agent = await this.startBareAgent(name, more)
    await agent.importImage(this.rootfs)
    return agent
  }

  startBareAgent(name: string, more: Partial<AgentOptions> = {}): Promise<AgentUnderTest> {
    const options = { root: this.root, directory: this.folder(name), fifoDir: this.folder('f'), ...more }
    return AgentUnderTest.start(options, this.cleanup)
  }

  /** One line that the next one replaces; nothing where nobody looks. */
  progress(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`)
  }
}
