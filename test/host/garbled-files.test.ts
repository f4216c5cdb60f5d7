import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import { AgentHost, aborted, type RunningAgent } from '../support/agent-host.ts'
import { eventually } from '../support/cluster.ts'
import { fuzzRuns } from '../support/fuzz-runs.ts'

/** Each run is a start of the agent. `FUZZ_RUNS=500` for a long one; a failure prints the seed. */
const runs = fuzzRuns(10)

interface Damage {
  readonly file: number
  readonly kind: 'empty' | 'noise' | 'flip' | 'cut' | 'digits'
  readonly at: number
  readonly noise: Uint8Array
}

const damages = fc.record<Damage>({
  file: fc.nat(1_000),
  kind: fc.constantFrom('empty', 'noise', 'flip', 'cut', 'digits'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  noise: fc.uint8Array({ minLength: 1, maxLength: 200 })
})

function damaged(bytes: Buffer, { kind, at, noise }: Damage): Buffer {
  const offset = Math.min(Math.floor(at * bytes.length), Math.max(0, bytes.length - 1))
  switch (kind) {
    case 'empty':
      return Buffer.alloc(0)
    case 'noise':
      return Buffer.from(noise)
    case 'cut':
      return bytes.subarray(0, offset)
    case 'digits':
      return Buffer.from(`${noise[0]}\n`) // a pid, or a number of any meaning, that is another's
    case 'flip':
      return Buffer.concat([
        bytes.subarray(0, offset),
        Buffer.from([(bytes[offset] ?? 0) ^ (noise[0] ?? 1)]),
        bytes.subarray(offset + 1)
      ])
  }
}

/** What the agent keeps of one container in files, but for the exit: nothing beside it tells how a container ended. */
function filesOf(host: AgentHost, containerId: string): readonly string[] {
  const places = [
    join(host.runDir, 'c', containerId),
    join(host.runDir, 'oci/runc', containerId),
    join(host.sandboxesDir, containerId)
  ]
  return places.flatMap((place) =>
    readdirSync(place, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [join(place, entry.name)] : []))
  )
}

const pidOf = (host: AgentHost, containerId: string): number =>
  Number(readFileSync(join(host.runDir, 'c', containerId, 'pid'), 'utf8'))

const broken = (agent: RunningAgent): readonly unknown[] =>
  agent.events.filter((e) => e.event === 'broken').map((e) => e['error'])

t.test(
  'whatever one of its files says, a container that runs goes on under the next agent, and ends when it is asked to',
  async (t) => {
    const host = new AgentHost(t)
    let agent = await host.start()
    const { containerId } = await agent.run(['sh', '-c', 'echo begun; exec sleep 1000'])
    const pid = pidOf(host, containerId)
    // A gap that was found: the file is only there where one was.
    const gaps = join(host.sandboxesDir, containerId, 'log.gaps')
    writeFileSync(gaps, `${JSON.stringify({ cause: 'disk_full', fromMs: 1, toMs: 2 })}\n`)
    await fc.assert(
      fc.asyncProperty(damages, async (damage) => {
        await agent.crash()
        const files = filesOf(host, containerId)
        const path = files[damage.file % files.length] ?? ''
        const whole = readFileSync(path)
        writeFileSync(path, damaged(whole, damage))
        agent = await host.start()
        const runner = agent.runner(containerId)
        await aborted(runner.launched)
        const seen = await agent.runtime.inspect(containerId)
        writeFileSync(path, whole)
        const goesOn = runner.latest()?.state === 'running' && seen.kind === 'running' && seen.container.pid === pid
        if (!goesOn || broken(agent).length > 0) {
          throw new Error(
            `${path} ${damage.kind}: ${runner.latest()?.state}, ${JSON.stringify(seen)} ${String(broken(agent)[0])}`
          )
        }
      }),
      { numRuns: runs, endOnFailure: true }
    )
    await agent.runner(containerId).kill({ signal: 'SIGKILL', graceMs: 0 })
    await aborted(agent.runner(containerId).removed)
    t.match(agent.runner(containerId).latest(), { state: 'killed' })
    t.equal(readProcess(pid), undefined)
  }
)

t.test(
  'whatever else its files say, an exit code that was kept is told, and one that is no number is told as unknown',
  async (t) => {
    const host = new AgentHost(t)
    let agent = await host.start()
    await fc.assert(
      fc.asyncProperty(damages, fc.boolean(), async (damage, inExit) => {
        const { containerId, logPath } = await agent.run([
          'sh',
          '-c',
          'trap "exit 3" TERM; echo ready; while :; do sleep 0.01; done'
        ])
        const pid = pidOf(host, containerId)
        await agent.crash()
        const exit = join(host.runDir, 'exits', containerId)
        await eventually(() => (readFileSync(logPath, 'utf8').includes('ready') ? true : undefined))
        process.kill(pid, 'SIGTERM')
        await eventually(() => (existsSync(exit) ? true : undefined))
        const files = filesOf(host, containerId)
        const path = inExit ? exit : (files[damage.file % files.length] ?? '')
        writeFileSync(path, inExit ? `x${damage.noise.join('')}` : damaged(readFileSync(path), damage))
        agent = await host.start()
        const runner = agent.runner(containerId)
        await aborted(runner.removed)
        const { exitCode, reason } = runner.latest() ?? {}
        const isTold = inExit ? reason === 'exit_unknown' : exitCode === 3
        if (!isTold || broken(agent).length > 0) throw new Error(`${path} ${damage.kind}: ${JSON.stringify(runner.latest())}`)
      }),
      { numRuns: Math.ceil(runs / 2), endOnFailure: true }
    )
    t.pass('held')
  }
)
