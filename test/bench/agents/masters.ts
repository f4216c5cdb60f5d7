import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, copyFileSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../../base/fault.ts'
import { masterHeap } from '../../../cli/supervise-main.ts'
import type { MembersFacts } from '../../../sdk/raft-messages.ts'
import type { Bench } from '../bench.ts'
import { eventually } from '../eventually.ts'
import { killed } from '../programs.ts'
import { freePorts } from '../raft/ensemble.ts'

/** A master as it is shipped, with TLS doors on loopback. */
export class MasterUnderTest {
  readonly stateDir: string
  /** HOST:PORT of its door for other hosts. */
  readonly door: string
  readonly peerAddress: string
  readonly #bench: Bench
  #child: ChildProcess | undefined

  constructor(bench: Bench, name: string, doorPort: number, peerPort: number) {
    this.#bench = bench
    this.stateDir = bench.folder(name)
    this.door = `127.0.0.1:${doorPort}`
    this.peerAddress = `tls:127.0.0.1:${peerPort}`
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  start(more: readonly string[] = []): void {
    const output = openSync(join(this.stateDir, 'master.log'), 'a')
    const doors = ['--http', 'off', '--listen', this.door, '--advertise', '127.0.0.1', '--peer-listen', this.peerAddress]
    const words = [masterHeap, join(this.#bench.root, 'dist/master.cjs'), '--state-dir', this.stateDir, ...doors, ...more]
    const child = spawn(process.execPath, words, { cwd: '/', detached: true, stdio: ['ignore', output, output] })
    closeSync(output)
    this.#child = child
    this.#bench.cleanup.add(`the master in ${this.stateDir}`, () => killed(child))
  }

  /** What it has said under that name. */
  logLines(msg: string): readonly Readonly<Record<string, unknown>>[] {
    const text = readFileSync(join(this.stateDir, 'master.log'), 'utf8')
    const lines = text.split('\n').filter((line) => line.includes(`"msg":"${msg}"`))
    return lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
  }

  async kill(): Promise<void> {
    if (this.#child !== undefined) await killed(this.#child)
  }

  /** What `hearth` prints; rejects where it fails. */
  async hearth(words: readonly string[]): Promise<string> {
    const program = join(this.#bench.root, 'dist/hearth.cjs')
    const child = spawn(process.execPath, ['--', program, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HEARTH_STATE_DIR: this.stateDir }
    })
    const said = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said.stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.stderr += text
    })
    const code = await new Promise((resolve) => child.once('close', resolve))
    if (code !== 0)
      throw new Fault('unavailable', `hearth ${words.slice(0, 3).join(' ')} ended with ${code}: ${said.stderr.trim()}`)
    return said.stdout
  }

  async status(): Promise<MembersFacts | undefined> {
    const said = await this.hearth(['raft', 'status', '--json']).catch(() => '')
    return said === '' ? undefined : (JSON.parse(said) as MembersFacts)
  }
}

/** Three masters of several hosts, all of which happen to be this one. */
export async function startMasters(bench: Bench): Promise<readonly MasterUnderTest[]> {
  const ports = await freePorts(6)
  const masters = [0, 1, 2].map((i) => new MasterUnderTest(bench, `m${i + 1}`, ports[i] ?? 0, ports[3 + i] ?? 0))
  const [first, ...others] = masters as [MasterUnderTest, ...MasterUnderTest[]]
  first.start()
  await leaderAmong([first])
  for (const master of others) {
    const tokenFile = join(master.stateDir, 'token-to-join')
    writeFileSync(tokenFile, await tokenFor(first, 'master', 1), { mode: 0o600 })
    copyFileSync(join(first.stateDir, 'master-token'), join(master.stateDir, 'master-token'))
    master.start(['--wait', 'yes', '--join', first.door, '--join-token-file', tokenFile])
  }
  await succeeds('the masters to be added', () => first.hearth(['raft', 'add', ...others.map((m) => m.peerAddress)]))
  return masters
}

/** A token that lets so many nodes in. */
export async function tokenFor(master: MasterUnderTest, role: 'agent' | 'master', uses: number): Promise<string> {
  const words = ['cluster', 'token', 'create', '--role', role, '--uses', String(uses), '--ttl', '1h', '--json']
  const said = await succeeds('a token', () => master.hearth(words))
  return (JSON.parse(said) as { readonly token: string }).token
}

/** Who leads, and its term, as one of these knows. */
export async function leaderAmong(
  masters: readonly MasterUnderTest[]
): Promise<{ readonly raftId: number; readonly term: number }> {
  let found: { readonly raftId: number; readonly term: number } | undefined
  await eventually('a leader among the masters', async () => {
    for (const master of masters) {
      const status = await master.status()
      if (status !== undefined && status.leader !== 0) found = { raftId: status.leader, term: status.term }
    }
    return found !== undefined
  })
  if (found === undefined) throw new Fault('unavailable', 'nobody leads')
  return found
}

async function succeeds<T>(what: string, act: () => Promise<T>): Promise<T> {
  let found: { readonly value: T } | undefined
  let why: unknown
  await eventually(what, async () => {
    found = await act().then(
      (value) => ({ value }),
      (e: unknown) => {
        why = e
        return undefined
      }
    )
    return found !== undefined
  }).catch((e: unknown) => {
    throw why ?? e
  })
  if (found === undefined) throw why
  return found.value
}
