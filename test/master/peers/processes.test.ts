import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import type { Member } from '../../../master/consensus/membership.ts'
import { newClusterId, newNodeId } from '../../../proto/ids.ts'
import { checkHistory } from '../../linearizability/checker.ts'
import { type Operation, type RegisterAction, register } from '../../linearizability/history.ts'
import { until } from '../../support/until.ts'

interface Master {
  readonly raftId: number
  readonly child: ChildProcess
  readonly ended: Promise<unknown>
  isLeading: boolean
  /** Acknowledged by this process alone. */
  acknowledged: number
}

/** A port that nobody has now; whoever takes it before the child does makes that child end, and the test with it. */
function freePort(): Promise<number> {
  const server = createServer()
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

/** What the clients in the processes said, as one history: they all look at one clock. */
class ToldHistory {
  readonly #begun = new Map<
    string,
    { readonly key: string; readonly kind: string; readonly call: number; readonly expected: number }
  >()
  readonly #ended: Operation<RegisterAction>[] = []

  hear([word, id = '', at, ...more]: readonly string[]): void {
    const begun = this.#begun.get(id)
    if (word === 'call') {
      const [key = '', kind = '', expected] = more
      this.#begun.set(id, { key, kind, call: Number(at), expected: Number(expected) })
    } else if (begun !== undefined) {
      this.#begun.delete(id)
      if (word === 'return') this.#ended.push({ ...begun, action: actionOf(begun, Number(id), more[0]), return: Number(at) })
    }
  }

  /** With the writes whose end nobody saw: they may have taken effect at any later time. */
  get operations(): readonly Operation<RegisterAction>[] {
    const open = [...this.#begun].filter(([, { kind }]) => kind !== 'read')
    const unknown = ([id, begun]: (typeof open)[number]) => ({
      ...begun,
      action: actionOf(begun, Number(id), undefined),
      return: Number.POSITIVE_INFINITY
    })
    return [...this.#ended, ...open.map(unknown)]
  }
}

function actionOf(
  { kind, expected }: { readonly kind: string; readonly expected: number },
  value: number,
  answer: string | undefined
): RegisterAction {
  if (kind === 'read') return { kind, saw: Number(answer) }
  if (kind === 'write') return { kind, value }
  return { kind: 'swap', expected, value, swapped: answer === undefined ? undefined : answer === 'done' }
}

class Masters {
  readonly history = new ToldHistory()
  readonly #running = new Map<number, Master>()
  readonly #clusterId = newClusterId()
  readonly #founders: readonly Member[]
  readonly #root: string
  readonly #t: Test

  constructor(t: Test, root: string, ports: readonly number[]) {
    this.#t = t
    this.#root = root
    this.#founders = ports.map((port, i) => ({
      raftId: i + 1,
      nodeId: newNodeId(),
      address: `tcp:127.0.0.1:${port}`,
      agentAddress: ''
    }))
  }

  get leader(): Master | undefined {
    return [...this.#running.values()].find((master) => master.isLeading)
  }

  start(raftId: number): void {
    const founder = this.#founders[raftId - 1]
    const port = Number(founder?.address.split(':').at(-1))
    const config = {
      directory: join(this.#root, String(raftId)),
      clusterId: this.#clusterId,
      nodeId: founder?.nodeId,
      raftId,
      founders: this.#founders,
      segmentBytes: 64 * 1024,
      snapshotEveryBytes: 20_000,
      trailingEntries: 50,
      peerListen: { host: '127.0.0.1', port },
      peerToken: 'the secret of the masters'
    }
    const loader = process.execArgv.filter((argument) => argument.startsWith('--import'))
    const script = new URL('../../support/peer-child.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [...loader, script, JSON.stringify(config)], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#t.teardown(() => child.kill('SIGKILL'))
    const ended = new Promise((resolve) => child.once('close', resolve))
    const master: Master = { raftId, child, ended, isLeading: false, acknowledged: 0 }
    this.#running.set(raftId, master)
    createInterface({ input: child.stdout }).on('line', (line) => this.#hear(master, line))
  }

  async kill(master: Master, signal: NodeJS.Signals): Promise<void> {
    master.child.kill(signal)
    await master.ended
    master.isLeading = false
    this.#running.delete(master.raftId)
  }

  #hear(master: Master, line: string): void {
    const words = line.split(' ')
    const [word] = words
    if (word === 'gained' || word === 'lost') master.isLeading = word === 'gained'
    else {
      this.history.hear(words)
      if (words.at(-1) === 'done') master.acknowledged += 1
    }
  }
}

t.test(
  'three masters as processes go on after kill -9 and after a planned stop of their leader, and what their clients saw is linearizable',
  async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'hearth-masters-'))
    t.teardown(() => rm(root, { recursive: true, force: true }))
    const masters = new Masters(t, root, await Promise.all([1, 2, 3].map(freePort)))
    for (const id of [1, 2, 3]) masters.start(id)
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await until(() => (masters.leader?.acknowledged ?? 0) > 50)
      const leader = masters.leader
      if (leader === undefined) throw new Error('nobody leads')
      await masters.kill(leader, signal)
      await until(() => (masters.leader?.acknowledged ?? 0) > 50)
      t.not(masters.leader?.raftId, leader.raftId, `another leads after ${signal}`)
      masters.start(leader.raftId)
    }
    const reads = (): number => masters.history.operations.filter(({ action }) => action.kind === 'read').length
    await until(() => reads() > 20)
    const { operations } = masters.history
    const verdicts = checkHistory(operations, register, 1_000_000)
    t.strictSame(
      verdicts.map(({ key, verdict }) => `${key} ${verdict}`).sort(),
      ['a', 'b', 'c', 'd'].map((key) => `${key} linearizable`)
    )
    t.ok(operations.length > reads() + 100, `${operations.length} operations, ${reads()} reads`)
  }
)
