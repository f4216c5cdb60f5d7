import { finished, type Scenario } from './scenario.ts'

/** Fails in the first attempt whose program gets so far, and is well in the one after. */
const failsOnce = `f=/marks/tried-$HEARTH_TASK_ID; if [ -e "$f" ]; then code=0; else : > "$f"; code=4; fi`

/** A task that its own definition has started again, struck in the first end, in the back-off and in the second attempt. */
export const attempts: Scenario = {
  name: 'attempts',
  variants: ['plain', 'restart', 'away'],
  prepare: async () => undefined,
  act: async (s) => {
    s.task({ body: failsOnce, restart: { mode: 'on_failure', maxAttempts: 4, backoffMs: 150, maxBackoffMs: 150 } })
    return []
  },
  middle: (s) => s.world.master.statuses.some(({ status }) => status.willRestart),
  meanwhile: () => true,
  finish: async () => [],
  ends: [finished],
  followed: [{ state: 'failed', reason: 'exited', exitCode: 4 }],
  attempts: 2,
  counts: false,
  launches: true
}
