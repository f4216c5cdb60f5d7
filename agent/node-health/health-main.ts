import { readFileSync } from 'node:fs'
import { systemClock } from '../../base/clock.ts'
import { Fault, faultTable, isFault } from '../../base/fault.ts'
import { readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { type AgentConfig, readAgentConfig } from '../config.ts'
import { systemExec } from '../host/exec.ts'
import { readHardware } from '../host/hardware.ts'
import { checksParent } from './gather/check-cgroups.ts'
import { nodeRoots } from './gather/roots.ts'
import { type HostCheckConfig, quickPlans, thoroughPlans } from './host-plans.ts'
import { readTop, tasksFromFiles } from './top.ts'
import { type CheckPlan, PlanRunner } from './verdict.ts'

const verbs = ['all', 'thorough', 'hardware', 'top'] as const

/**
 * The short-lived program behind the checks that run programs or read much: `health.cjs VERB TURN [SETTINGS OF THE AGENT]`,
 * started by the agent every few minutes and by `hearth node` where no agent answers. Prints one line of JSON. Ends early when
 * its standard input ends, and takes what it started with it: no check outlives the one who asked.
 */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const [verb = '', turn = '0', ...settings] = argv
  const asked = new AbortController()
  const end = (): void => asked.abort(new Fault('unavailable', 'whoever asked for the checks is gone'))
  process.stdin.resume().once('end', end).once('error', end)
  try {
    const config = readAgentConfig(settings, env)
    const answer = await answerTo(verb, Number(turn) || 0, config, asked.signal)
    if (answer === undefined) {
      process.stderr.write(`health.cjs takes one of ${verbs.join(', ')}, not ${JSON.stringify(verb)}\n`)
      process.exit(64) // Standard input may stay open for ever.
    }
    await new Promise<void>((resolve) => process.stdout.write(`${JSON.stringify(answer)}\n`, () => resolve()))
    process.exit(0)
  } catch (e) {
    if (asked.signal.aborted) process.exit(75)
    if (!isFault(e)) throw e
    process.stderr.write(`${e.message}\n`)
    process.exit(faultTable[e.code].exitCode)
  }
}

async function answerTo(verb: string, turn: number, config: AgentConfig, signal: AbortSignal): Promise<unknown> {
  const cgroupParent = checksParent(readCgroupLayout().mode, config.cgroupParent, readFileSync('/proc/self/cgroup', 'utf8'))
  const host: HostCheckConfig = { ...config, cgroupParent, askDns: config.healthDns }
  const thorough = (): readonly CheckPlan[] => thoroughPlans(systemExec, nodeRoots, host, turn)
  switch (verb as (typeof verbs)[number]) {
    case 'all':
      return { checks: await new PlanRunner().run([...quickPlans(nodeRoots, host), ...thorough()], signal) }
    case 'thorough':
      return { checks: await new PlanRunner().run(thorough(), signal) }
    case 'hardware':
      return { hardware: await readHardware() }
    case 'top': {
      const layout = readCgroupLayout()
      return await readTop({ roots: nodeRoots, layout, clock: systemClock }, await tasksFromFiles(layout, config), signal)
    }
    default:
      return undefined
  }
}
