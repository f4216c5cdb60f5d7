import { hasBegun, type Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

const often = { intervalMs: 60, timeoutMs: 15_000 }

/** A task with a probe of each kind and purpose, until its liveness fails. The verdict must stand until then. */
export const probed: Scenario = {
  name: 'probed',
  variants: ['plain', 'restart', 'away'],
  prepare: async (s) => {
    const { port } = await s.openProbeTarget()
    const task = s.task({
      body: 'while :; do sleep 600; done',
      network: 'host',
      killPolicy: { signal: '', graceMs: 0 },
      probes: [
        // Not before the agent is armed, when the target becomes well: the second success was asked for after that.
        { purpose: 'startup', http: { port, path: '/' }, successes: 2, failures: 10_000, ...often },
        { purpose: 'readiness', command: { arguments: ['/bin/sh', '-c', `test $HEARTH_TASK_ID`] }, ...often },
        { purpose: 'liveness', tcp: { port }, ...often }
      ]
    })
    await s.settle('the probed task to begin', () => hasBegun(s, task))
    return task
  },
  act: async (s) => {
    ;(await s.openProbeTarget()).isWell = true
    await s.until('the task to be ready', () => isReady(s))
    return []
  },
  middle: isReady,
  meanwhile: () => true,
  finish: async (s, task) => {
    await s.settle('the task to be ready', () => s.world.master.connected && isReady(s))
    const target = await s.openProbeTarget()
    const before = target.connections
    await s.settle('two more probes of each kind', () => target.connections >= before + 4)
    const told = verdictProblems(s)
    target.close()
    if (task !== undefined) await s.settle('the probed task to end', () => s.hasEnded(task))
    return told
  },
  ends: [{ state: 'failed', reason: 'probe_failed', exitCode: 137 }],
  // The decision is in the agent's memory alone; exit code and failure are told all the same.
  endsUndecided: [{ state: 'failed', reason: 'signaled', exitCode: 137 }],
  counts: false,
  launches: false
}

function isReady(s: Stage): boolean {
  return s.world.master.statuses.some(({ status }) => status.ready === true)
}

/** Nothing has failed: once well, it stays well, whatever became of the agent. */
function verdictProblems(s: Stage): readonly string[] {
  const told = s.world.master.statuses.filter(({ status }) => status.state === 'running').map(({ status }) => status.ready)
  const lost = told.indexOf(true) < told.lastIndexOf(false)
  return lost ? ['the health verdict is kept: a task that is well was told to be unwell'] : []
}
