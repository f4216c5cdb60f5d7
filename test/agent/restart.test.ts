import t from 'tap'
import { type AttemptEnding, backoffLeftMs, isFollowed, nextAttempt } from '../../agent/restart.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { RestartPolicy } from '../../proto/gen/messages.ts'

const policy = (init: Init<RestartPolicy>): RestartPolicy => completeMessage('RestartPolicy', init)
const never = policy({ mode: 'never' })
const onFailure = policy({ mode: 'on_failure' })
const always = policy({ mode: 'always' })
const twice = policy({ mode: 'always', maxAttempts: 2 })

const finished: AttemptEnding = { state: 'finished', reason: 'exited' }
const failed: AttemptEnding = { state: 'failed', reason: 'exited' }
const rebooted: AttemptEnding = { state: 'failed', reason: 'node_rebooted' }
const stopped: AttemptEnding = { state: 'killed', reason: 'node_stopped' }
const because = (reason: AttemptEnding['reason'], state: AttemptEnding['state'] = 'failed'): AttemptEnding => ({ state, reason })

const rows: readonly (readonly [string, RestartPolicy | null, number, AttemptEnding, boolean])[] = [
  ['a task without a policy', null, 0, failed, false],
  ['a policy of zeros', policy({}), 0, failed, false],
  ['never, after a failure', never, 0, failed, false],
  ['never, after a reboot', never, 0, rebooted, false],
  ['on failure, after a failure', onFailure, 0, failed, true],
  ['on failure, after success', onFailure, 0, finished, false],
  ['on failure, ended by a signal', onFailure, 0, because('signaled'), true],
  ['on failure, out of memory', onFailure, 0, because('limit_memory'), true],
  ['on failure, its exit unseen', onFailure, 0, because('exit_unknown'), true],
  ['on failure, unwell', onFailure, 0, because('probe_failed'), true],
  ['on failure, the disk full', onFailure, 0, because('disk_full'), true],
  ['on failure, a slow launch', onFailure, 0, because('stage_timeout'), true],
  ['on failure, after a reboot', onFailure, 0, rebooted, true],
  ['on failure, the node stopped', onFailure, 0, stopped, true],
  ['always, after success', always, 0, finished, true],
  ['always, after a failure', always, 1_000_000, failed, true],
  ['always, killed', always, 0, because('kill_requested', 'killed'), false],
  ['always, killed before it ran', always, 0, because('killed_during_launch', 'killed'), false],
  ['always, no such image', always, 0, because('image_unknown'), false],
  ['always, no such program', always, 0, because('program_not_found'), false],
  ['always, a bad request', always, 0, because('task_invalid'), false],
  ['always, its lease over', always, 0, because('lease_expired'), false],
  ['always, its lease refused', always, 0, because('lease_refused'), false],
  ['two attempts, after the first', twice, 0, failed, true],
  ['two attempts, after the second', twice, 1, failed, false],
  ['two attempts, after the second, which a reboot ended', twice, 1, rebooted, true],
  ['one attempt', policy({ mode: 'always', maxAttempts: 1 }), 0, failed, false]
]

for (const [name, of, restarts, ending, follows] of rows) {
  t.test(`${name}: ${follows ? 'another attempt' : 'the end'}`, async (t) => {
    t.equal(isFollowed(of, { restarts }, ending), follows)
  })
}

t.test('the back-off doubles up to its most, and begins anew after an attempt that ran long enough', async (t) => {
  const of = policy({ mode: 'always', backoffMs: 100, maxBackoffMs: 350, resetAfterMs: 5_000 })
  let row = { attempt: 1, restarts: 0, quickEnds: 0 }
  const pauses = [0, 10, 4_999, 0, 5_000, 0].map((ranMs) => {
    const next = nextAttempt(of, row, 'exited', ranMs)
    row = next
    return next.backoffMs
  })
  t.same(pauses, [100, 200, 350, 350, 100, 200])
  t.same(row, { attempt: 7, restarts: 6, quickEnds: 2, backoffMs: 200 })
})

t.test('numbers that are left out have defaults, and the most is never below the first', async (t) => {
  const row = { attempt: 1, restarts: 0, quickEnds: 0 }
  t.equal(nextAttempt(always, row, 'exited', 0).backoffMs, 1_000)
  t.equal(nextAttempt(always, { ...row, quickEnds: 1_000_000 }, 'exited', 0).backoffMs, 60_000)
  t.equal(nextAttempt(policy({ mode: 'always', backoffMs: 90_000 }), row, 'exited', 0).backoffMs, 90_000)
})

t.test('what the node brings about costs no attempt, and grows the back-off all the same', async (t) => {
  t.match(nextAttempt(always, { attempt: 3, restarts: 2, quickEnds: 0 }, 'node_rebooted', 0), {
    attempt: 4,
    restarts: 2,
    quickEnds: 1
  })
  t.match(nextAttempt(always, { attempt: 3, restarts: 2, quickEnds: 1 }, 'node_stopped', 0), { restarts: 2, backoffMs: 2_000 })
})

t.test('the back-off is measured in boot time: it survives the agent, and begins anew with the boot', async (t) => {
  const row = { backoffMs: 4_000, beginAtBootMs: 104_000, bootId: 'a' }
  t.equal(backoffLeftMs(row, { bootId: 'a', bootMs: 100_000 }), 4_000)
  t.equal(backoffLeftMs(row, { bootId: 'a', bootMs: 103_500 }), 500)
  t.equal(backoffLeftMs(row, { bootId: 'a', bootMs: 999_999 }), 0)
  t.equal(backoffLeftMs(row, { bootId: 'b', bootMs: 103_999 }), 4_000)
  t.equal(backoffLeftMs({ ...row, beginAtBootMs: 9_000_000 }, { bootId: 'a', bootMs: 1 }), 4_000, 'never longer than it is')
})
