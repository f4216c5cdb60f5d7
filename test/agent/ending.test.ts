import t from 'tap'
import { endingOf, endingOfFault, launchFailure } from '../../agent/ending.ts'
import { Fault } from '../../base/fault.ts'

const exit = (code: number, more: object = {}) => ({
  kind: 'exited' as const,
  code,
  signal: code > 128 ? code - 128 : undefined,
  outOfMemory: false,
  ...more
})
const kill = { kind: 'kill' as const }
const disk = { kind: 'limit' as const, limitation: { limit: 'disk' as const, message: 'too much' } }

for (const [what, seen, decided, state, reason] of [
  ['exit code 0', exit(0), undefined, 'finished', 'exited'],
  ['exit code 3', exit(3), undefined, 'failed', 'exited'],
  ['a signal nobody asked for', exit(139), undefined, 'failed', 'signaled'],
  ['an out-of-memory kill', exit(137, { outOfMemory: true }), undefined, 'failed', 'limit_memory'],
  ['a kill that was asked for', exit(143), kill, 'killed', 'kill_requested'],
  ['a clean exit after a kill', exit(0), kill, 'killed', 'kill_requested'],
  ['a passed disk limit', exit(137), disk, 'failed', 'limit_disk'],
  ['an exit that nobody saw', { kind: 'lost', why: 'gone' } as const, undefined, 'failed', 'exit_unknown'],
  ['an exit that nobody saw after a kill', { kind: 'lost', why: 'gone' } as const, kill, 'killed', 'kill_requested']
] as const) {
  t.test(`${what} ends the task as ${state} with reason ${reason}`, async (t) => {
    t.match(endingOf(seen, decided), { state, reason })
  })
}

t.test('the exit code is kept whatever the cause', async (t) => {
  t.equal(endingOf(exit(143), kill).exitCode, 143)
  t.equal(endingOf(exit(137), disk).exitCode, 137)
})

t.test('a fault before the start becomes a reason that people can act on', async (t) => {
  t.match(endingOfFault(new Fault('invalid', 'no', { reason: 'program_not_found' })), { reason: 'program_not_found' })
  t.match(endingOfFault(new Fault('not-found', 'no image x')), { reason: 'image_unknown', message: 'no image x' })
  t.match(endingOfFault(new Fault('exhausted', 'full')), { reason: 'disk_full' })
  t.match(endingOfFault(new Fault('unavailable', 'broke', { reason: 'made_up' })), { reason: 'launch_failed' })
})

t.test('a passed deadline names its stage; a bug stays a bug', async (t) => {
  const late = new DOMException('the operation timed out', 'TimeoutError')
  t.match(launchFailure(late, 'preparing'), { code: 'timeout', detail: { reason: 'stage_timeout', stage: 'preparing' } })
  t.match(launchFailure(Object.assign(new Error('x'), { code: 'ENOSPC', syscall: 'write' }), 's'), { code: 'exhausted' })
  t.match(launchFailure(Object.assign(new Error('x'), { code: 'EIO', syscall: 'write' }), 's'), { code: 'unavailable' })
  const bug = new TypeError('undefined is not a function')
  t.equal(launchFailure(bug, 's'), bug)
})
