import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../../../base/clock.ts'
import { Fault } from '../../../base/fault.ts'
import type { Expected, ExpectedEnd, ExpectedTask } from '../invariants/expected.ts'
import type { Scenario, Variant } from './scenario.ts'
import { scenarios } from './scenarios.ts'
import { type Begin, type Ordered, Stage, type Strike } from './stage.ts'

/** One cell's work: a life cycle in one variant, and the fault that strikes in it; none to see which points it hits. */
export interface SweepRun {
  readonly scenario: Scenario
  readonly variant: Variant
  readonly strike: Strike | undefined
}

export interface SweepResult {
  readonly violations: readonly string[]
  /** Every point in the order of its hits, where nothing was struck. */
  readonly hits: readonly string[]
  /** Whether the fault struck at all. */
  readonly fired: boolean
  /** Whether an agent ended that nobody had asked to. */
  readonly died: boolean
}

export interface SweepPlaces {
  /** The programs with fail points. */
  readonly programs: string
  /** Empty, and of a short path. */
  readonly directory: string
  /** Most that one run may take. */
  readonly deadlineMs: number
  /** Runs the agent that would be struck: strace, which kills it at a system call, in place of the fail points. */
  readonly wrapper?: readonly string[]
  /** Where the agent's log of a failed run is kept. */
  readonly logPath?: string
  /** Hears once of a delay that has begun: for its length the run needs no core. */
  readonly idle?: () => void
}

export const scenarioNamed = (name: string): Scenario => {
  const found = scenarios.find((s) => s.name === name)
  if (found !== undefined) return found
  throw new Fault('invalid', `there is no scenario ${name}; there are ${scenarios.map((s) => s.name).join(', ')}`)
}

/** What is wanted must be what is there within so long after the last start. */
const settleMs = 10_000

/** Carries out one run in a world of its own, which is gone afterwards. Rejects where it could not be carried out. */
export async function carryOut(run: SweepRun, places: SweepPlaces, signal: AbortSignal): Promise<SweepResult> {
  const deadline = within(places.deadlineMs, signal)
  const s = await Stage.open(places, deadline)
  const watching = run.strike?.fault === 'delay' ? setInterval(() => s.fired && places.idle?.(), 300) : undefined
  try {
    const told = await live(run, s)
    const hits = run.strike === undefined ? s.record().filter((line) => !/^(armed|fired )/.test(line)) : []
    const { fired } = s
    const broken = [...told, ...(await judge(run, s)), ...(isDiskFault(run) ? [] : brokenAgents(s))]
    if (broken.length > 0) keep(s, places)
    return { violations: withLastWords(broken, s), hits, fired, died: s.died }
  } catch (e) {
    if (signal.aborted || !(e instanceof Fault)) throw e
    keep(s, places)
    return { violations: withLastWords([`what is wanted is what runs: ${e.message}`], s), hits: [], fired: s.fired, died: s.died }
  } finally {
    clearInterval(watching)
    await s.close()
  }
}

const keep = (s: Stage, { logPath }: SweepPlaces): void => {
  if (logPath !== undefined) s.world.keepLog(logPath)
}

/** With the agent's last words behind the last one. */
const withLastWords = (broken: readonly string[], s: Stage): readonly string[] =>
  broken.map((sentence, i) => (i === broken.length - 1 ? `${sentence}\n    ${s.lastWords()}` : sentence))

/** The life cycle with its fault, until every task has ended. Returns what was wrong with the answers. */
async function live(run: SweepRun, s: Stage): Promise<readonly string[]> {
  const { scenario, variant, strike } = run
  const struck: Begin = { armed: true, strike }
  if (scenario.name === 'start') return startTwice(s, struck)
  const isStruckLater = variant === 'restart' && scenario.first === undefined
  await s.begin(isStruckLater ? undefined : { armed: false, strike: variant === 'restart' ? scenario.first : strike })
  const task = await scenario.prepare(s)
  if (variant === 'plain' || (variant === 'restart' && scenario.first !== undefined)) await s.arm()
  const acting = scenario.act(s, task)
  acting.catch(() => undefined) // awaited below
  if (variant === 'restart') {
    await s.until(`the middle of ${scenario.name}`, () => scenario.middle(s, task))
    await s.kill()
    await s.until('what the agent sleeps through', () => scenario.meanwhile(s, task))
    s.start(struck)
  } else if (variant === 'away') {
    await s.settle(`the middle of ${scenario.name}`, () => scenario.middle(s, task))
    // What comes before is struck in the plain life cycle.
    await s.arm()
    s.world.master.close()
    await s.settle('what the master sleeps through', () => scenario.meanwhile(s, task))
    await pause(awayMs)
    await s.world.master.listen()
  }
  await s.settle('the answers', await flagOf(acting))
  const told = await acting
  const more = await scenario.finish(s, task)
  await s.settle('every task to end', () => s.world.master.connected && s.ordered.every((task) => s.hasEnded(task)))
  return [...told, ...more, ...(isHarmless(run) ? attemptProblems(run, s) : [])]
}

/** Long enough that a status is tried in vain, short enough that the agent's next dial comes soon. */
const awayMs = 300

async function flagOf(work: Promise<unknown>): Promise<() => boolean> {
  let over = false
  const done = (): void => {
    over = true
  }
  work.then(done, done)
  return () => over
}

/** The fault strikes in the first start, in the orderly end, or in the second start. */
async function startTwice(s: Stage, struck: Begin): Promise<readonly string[]> {
  await s.begin(struck)
  await s.settle('the agent to register', () => s.world.master.connected)
  await s.stop()
  await s.begin({ armed: true, strike: s.fired ? undefined : struck.strike })
  await s.settle('the agent to register', () => s.world.master.connected)
  return []
}

/** Starts the agent again, and looks at the kernel: with every task ended, then forgotten, then with the agent gone in order. */
async function judge(run: SweepRun, s: Stage): Promise<readonly string[]> {
  const { world } = s
  // One that died of the fault has been started again already.
  if (!s.died || !world.isRunning) {
    await s.kill()
    await s.begin()
  }
  if (!world.isRunning) return ['what is wanted is what runs: the agent does not start again']
  const refused = isDiskFault(run) ? /^the agent refused/ : undefined
  const problems = world.problems.filter((p) => refused?.test(p) !== true)
  const ended = run.scenario.forgets === true ? [] : await look(run, s, 'ended', true)
  if (problems.length + ended.length > 0) return [...problems, ...ended]
  for (const { containerId } of s.ordered) world.master.forget(containerId)
  const forgotten = await look(run, s, 'forgotten', true)
  if (forgotten.length > 0) return forgotten
  await s.stop()
  return look(run, s, 'forgotten', false)
}

/** Looks until every invariant holds, or what is wanted had its time. */
function look(run: SweepRun, s: Stage, wanted: ExpectedTask['wanted'], agentRuns: boolean): Promise<readonly string[]> {
  const { master } = s.world
  const expected = (): Expected => ({
    agentRuns,
    statuses: master.statuses,
    sandboxes: wanted === 'forgotten' ? [] : s.sandboxes,
    tasks: s.ordered
      .filter(({ containerId }) => master.answerTo(containerId)?.accepted !== false)
      .flatMap((task) => expectedOf(run, task, s.attemptsOf(task), wanted))
  })
  return s.world.settle(expected, settleMs, s.signal)
}

const expectedOf = (
  run: SweepRun,
  { taskId }: Ordered,
  attempts: readonly string[],
  wanted: ExpectedTask['wanted']
): readonly ExpectedTask[] =>
  attempts.map((containerId, i) => ({
    taskId,
    containerId,
    wanted,
    ends: [...(i < attempts.length - 1 ? (run.scenario.followed ?? []) : run.scenario.ends), ...endsOf(run)],
    executionsLeast: isHarmless(run) ? 1 : 0,
    ...(run.scenario.counts ? { counts: { cut: false } } : {})
  }))

/** Where nobody refused the agent anything, no attempt is made in vain. */
const attemptProblems = ({ scenario: { attempts: wanted } }: SweepRun, s: Stage): readonly string[] =>
  s.ordered.flatMap((task) => {
    const { length } = s.attemptsOf(task)
    return wanted === undefined || length === wanted
      ? []
      : [`no task runs twice: ${task.taskId} had ${length} attempts, not ${wanted}`]
  })

/** Only a disk that refuses is a reason to give up. */
const brokenAgents = (s: Stage): readonly string[] =>
  s.world
    .logText()
    .split('\n')
    .filter((line) => line.includes('"agent.broken"'))
    .map((line) => `what is wanted is what runs: the agent gave up: ${line.slice(0, 500)}`)

const isDiskFault = ({ strike }: SweepRun): boolean => strike?.fault === 'ENOSPC' || strike?.fault === 'EIO'

/** A fault after which the program must have run all the same: nobody refused the agent anything. */
const isHarmless = ({ strike, scenario }: SweepRun): boolean =>
  strike === undefined || strike.fault === 'delay' || !scenario.launches

/**
 * What else the task's end may be told as. A disk that refuses may fail a launch, with the reason; an agent that dies while it
 * starts a container cannot know whether the program ran, and must say so instead of starting it twice.
 */
function endsOf({ scenario, strike, variant }: SweepRun): readonly ExpectedEnd[] {
  if (strike?.fault.startsWith('kill') && scenario.endsUndecided !== undefined) return scenario.endsUndecided
  if (!scenario.launches || strike === undefined) return variant === 'restart' && scenario.launches ? [unknown] : []
  if (strike.fault === 'delay') return variant === 'restart' ? [unknown] : []
  if (strike.fault === 'kill' || strike.fault === 'kill-after') return [unknown]
  const refusals = [
    'disk_full',
    'launch_failed',
    'image_unknown',
    'image_damaged',
    'artifact_failed',
    'task_invalid',
    'unsupported_request'
  ] as const
  return [unknown, ...refusals.map((reason) => ({ state: 'failed', reason }) as const)]
}

const unknown: ExpectedEnd = { state: 'failed', reason: 'exit_unknown' }
