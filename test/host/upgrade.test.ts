import { mkdtempSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ledgerLevel } from '../../agent/ledger/level.ts'
import { buildAgentVersion, type Edit } from '../support/agent-versions.ts'
import { UpgradingNode } from '../support/upgrading-node.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const launcher = join(root, 'agent/upgrade/launch-agent.sh')

const atStart = (code: string): Edit => {
  const find = '    const config = readAgentConfig(argv, env)\n'
  return { file: 'agent/main.ts', find, put: `${code}\n${find}` }
}
const afterLedger = (code: string): Edit => {
  const find = '  const bootDir = placeBootDirectory(config.runDir)\n'
  return { file: 'agent/run.ts', find, put: `${code}\n${find}` }
}

/** The version before knows no record that came after level 1, and says so. */
const knowsLevel1: readonly Edit[] = [
  {
    file: 'agent/ledger/view.ts',
    find: 'else if (record.restart) this.#restart(record.restart)',
    put: "else if (record.restart) throw new Error('a record of level 3')"
  },
  { file: 'agent/ledger/level.ts', find: '!(above && hasUnknownFields(record))', put: '!(above && record.restart)' }
]

/** As long as a version on trial lives here before it is confirmed; those that die do so earlier. */
const probationMs = 6_000
const diesAfterMs = 1_500

const broken: Readonly<Record<string, { readonly level: number; readonly edit: Edit; readonly why: RegExp }>> = {
  'ends-at-start': {
    level: ledgerLevel,
    edit: atStart("throw new Error('broken on purpose')"),
    why: /ended 3 times before|not confirmed within/
  },
  'hangs-before-it-is-ready': {
    level: ledgerLevel,
    edit: atStart('await new Promise(() => setInterval(() => undefined, 1000))'),
    why: /not confirmed within/
  },
  'attaches-to-nothing': {
    level: ledgerLevel,
    edit: {
      file: 'agent/tasks.ts',
      find: 'recovered(row: TaskRow, live: (runner: TaskRunner) => Promise<void>): void {',
      put: 'recovered(row: TaskRow, live: (runner: TaskRunner) => Promise<void>): void { return'
    },
    why: /not confirmed within|ended 3 times/
  },
  'writes-what-only-it-can-read': {
    level: ledgerLevel + 1,
    edit: afterLedger(`
      await ledger.append({ head: { ...ledger.view.head, format: ${ledgerLevel + 1}, epoch: 1 } }, 'disk')
      await ledger.append({ object: { kind: 'layer', id: 'of the new version', phase: 'intent' } }, 'disk')
      setTimeout(() => {
        const { appendFileSync, readdirSync } = require('node:fs')
        const directory = join(config.stateDir, 'agent/ledger')
        for (const name of readdirSync(directory)) {
          if (/^ledger-.*log$/.test(name)) appendFileSync(join(directory, name), Buffer.alloc(500, 'no record at all '))
        }
        process.exit(3)
      }, ${diesAfterMs})`),
    why: /ended 3 times before|not confirmed within/
  },
  'dies-after-a-while': {
    level: ledgerLevel,
    edit: atStart(`setTimeout(() => process.exit(3), ${diesAfterMs})`),
    why: /ended 3 times before|not confirmed within/
  }
}

/** Starts a node on the version `old`, with one task that stays and others that come and go until the test is over. */
async function busyNode(t: Test, env: Readonly<Record<string, string>>, lastVersion = 'old'): Promise<BusyNode> {
  const directory = mkdtempSync('/tmp/hu-')
  const node = new UpgradingNode(directory, launcher, env)
  const old = { version: '1.0.0-old', level: 1, edits: knowsLevel1 }
  await buildAgentVersion(root, join(node.library, 'versions/old'), old)
  node.install('old')
  await node.start()
  t.teardown(async () => {
    await node.stop()
    const ended = await node.runAlone(lastVersion, '--stop-workloads')
    if (ended.code !== 0) t.fail(`the tasks could not be ended: ${ended.stderr}`)
    rmSync(directory, { recursive: true, force: true })
  })
  const staying = node.launch('exec sleep 1000000')
  const returning = node.launch('sleep 0.5; exit 7', { mode: 'always', backoffMs: 100, maxBackoffMs: 100 })
  await waitFor(async () => node.runsOf(staying) === 1 && node.runsOf(returning) === 1)
  let launching = true
  const churn = (async () => {
    for (let n = 0; launching; n += 1) {
      node.launch(`sleep 0.${n % 5}; exit 7`)
      await pause(1_000)
    }
  })()
  const settle = async (): Promise<void> => {
    launching = false
    await churn
    await waitFor(async () => node.taskIds.every((id) => id === staying || id === returning || node.hasEnded(id)))
  }
  return { node, staying, returning, settle }
}

interface BusyNode {
  readonly node: UpgradingNode
  readonly staying: string
  /** Fails, and is restarted, again and again. */
  readonly returning: string
  settle(): Promise<void>
}

async function waitFor(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(50)
}

async function ranOnce(t: Test, { node, staying, returning }: BusyNode): Promise<void> {
  const attempts = (): readonly number[] => node.statuses(returning).map((s) => s.attempt)
  // The newest may run and not be told yet.
  await waitFor(async () => node.runsOf(returning) - (attempts().at(-1) ?? 0) <= 1)
  const told = attempts()
  t.same(
    told,
    [...told].sort((a, b) => a - b),
    'attempts come in their order'
  )
  t.same(
    [...new Set(told)],
    Array.from({ length: told.at(-1) ?? 0 }, (_, i) => i + 1),
    'and none is left out'
  )
  // Where the records were damaged nobody can say whether an attempt that had not begun yet ran.
  const unknown = node.statuses(returning).filter((s) => s.reason === 'exit_unknown').length
  t.ok(node.runsOf(returning) >= (told.at(-1) ?? 0) - unknown, 'each that is told to have run did')
  for (const id of node.taskIds.filter((id) => id !== returning)) {
    t.equal(node.runsOf(id), 1, `${id} ran once`)
    const states = node.statuses(id).map((s) => `${s.state} ${s.exitCode ?? ''}`.trim())
    // Of one that ended while no agent lived nobody can say that it runs.
    const whole = id === staying ? ['running'] : ['running', 'failed 7']
    t.strictSame(states, states.length === 1 ? whole.slice(-1) : whole, `${id} said all it has to say`)
  }
}

t.test('five broken versions are taken back while tasks start and end', async (t) => {
  t.jobs = 5
  await Promise.all(
    Object.entries(broken).map(([name, { level, edit, why }]) =>
      t.test(name, { buffered: true }, async (t) => {
        const env = { HEARTH_UPGRADE_DEADLINE_S: '10', HEARTH_UPGRADE_PROBATION_MS: String(probationMs) }
        const busy = await busyNode(t, env)
        const { node } = busy
        await buildAgentVersion(root, join(node.library, 'versions', name), { version: `2.0.0-${name}`, level, edits: [edit] })
        node.install(name)
        node.restart()
        await waitFor(async () => node.book('verdict').startsWith(`${name} rejected`))
        t.match(node.book('verdict'), why)
        await waitFor(async () => (await node.health())?.['version'] === '1.0.0-old')
        t.equal(node.book('confirmed'), 'old')
        const runs = node.runsOf(busy.returning)
        const after = node.launch('exit 7')
        await waitFor(async () => node.hasEnded(after) && node.runsOf(busy.returning) > runs + 1)
        await busy.settle()
        await ranOnce(t, busy)
      })
    )
  )
})

t.test('a sound version is confirmed, launches what it held back, and raises the level for good', async (t) => {
  const busy = await busyNode(t, { HEARTH_UPGRADE_DEADLINE_S: '100', HEARTH_UPGRADE_PROBATION_MS: '2000' }, 'new')
  const { node } = busy
  await buildAgentVersion(root, join(node.library, 'versions/new'), { version: '2.0.0-new', level: ledgerLevel })
  node.install('new')
  node.restart()
  await waitFor(async () => (await node.health())?.['version'] === '2.0.0-new')
  const held = node.launch('exit 7')
  t.equal(node.book('verdict'), '', 'it is on trial')
  await waitFor(async () => node.hasEnded(held))
  t.equal(node.book('confirmed'), 'new')
  const runs = node.runsOf(busy.returning)
  await waitFor(async () => node.runsOf(busy.returning) > runs + 1)
  await busy.settle()
  await ranOnce(t, busy)
  await node.stop()
  const refused = await node.runAlone('old')
  t.not(refused.code, 0)
  t.match(refused.stderr, /level 4, raised by Hearth 2\.0\.0-new; this is Hearth 1\.0\.0-old, which knows level 1/)
})
