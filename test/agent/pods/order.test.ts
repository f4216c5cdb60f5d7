import t from 'tap'
import { podStep, type Seated } from '../../../agent/pods/order.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { TaskStatus } from '../../../proto/gen/messages.ts'

type Told = Init<TaskStatus> | undefined

const seated = (containerId: string, part: Seated['part'], told: Told, more: Partial<Seated> = {}): Seated => ({
  ...{ containerId, taskId: containerId, part, isProbed: false, killAsked: false },
  latest: told === undefined ? null : completeMessage('TaskStatus', told),
  ...more
})
const running: Told = { state: 'running', startedAtMs: 1 }
const finished: Told = { state: 'finished', startedAtMs: 1 }
const failed: Told = { state: 'failed', startedAtMs: 1, message: 'ended with exit code 1' }
const withPod: Told = { state: 'killed', reason: 'pod_ended' }
const box = (told: Told = running): Seated => seated('box', 'main', told)

t.test('containers begin when it is their turn', async (t) => {
  const of = (first: Told, side: Told, main: Told, probed = false): readonly Seated[] => [
    seated('main', 'main', main),
    seated('side', 'sidecar', side, { isProbed: probed }),
    seated('first', 'init', first)
  ]
  const table: readonly [string, Seated, readonly Seated[], readonly string[]][] = [
    ['nothing before the sandbox runs', box({ state: 'starting' }), of(undefined, undefined, undefined), ['box']],
    ['init containers first', box(), of(undefined, undefined, undefined), ['box', 'first']],
    ['a side-car after them', box(), of(finished, undefined, undefined), ['box', 'first', 'side']],
    ['not while one still runs', box(), of(running, undefined, undefined), ['box', 'first']],
    ['the main ones after the side-cars', box(), of(finished, running, undefined), ['box', 'first', 'side', 'main']],
    [
      'and not before they are ready',
      box(),
      of(finished, { ...running, ready: false }, undefined, true),
      ['box', 'first', 'side']
    ],
    ['but then', box(), of(finished, { ...running, ready: true }, undefined, true), ['box', 'first', 'side', 'main']],
    ['a side-car that has done its work', box(), of(finished, finished, undefined, true), ['box', 'first', 'side', 'main']]
  ]
  for (const [name, sandbox, all, begin] of table) t.same(podStep(sandbox, all), { begin, end: [] }, name)
})

t.test('a pod that is over ends in order, each told why', async (t) => {
  const whole = 'all main containers have ended'
  const table: readonly [string, Seated | undefined, readonly Seated[], readonly string[], string][] = [
    ['side-cars go last to first', box(), sides(running, running, finished), ['two'], whole],
    ['one after the other', box(), sides(running, withPod, finished), ['one'], whole],
    ['the sandbox comes last', box(), sides(withPod, withPod, finished), ['box'], whole],
    [
      'main ones before side-cars',
      box(),
      [...sides(running, running, failed), seated('b', 'main', running)],
      ['b'],
      'main failed: ended with exit code 1'
    ],
    ['what waits goes with them', box(), sides(running, undefined, failed), ['two'], 'main failed: ended with exit code 1'],
    [
      'a side-car that nobody could wait for',
      box(),
      sides(failed, running, undefined, true),
      ['main'],
      'the side-car one failed: ended with exit code 1'
    ],
    ['a lost sandbox ends all at once', undefined, sides(running, running, running), ['main'], 'the container that holds'],
    ['a gone sandbox too', box(failed), sides(running, running, withPod), ['one', 'two'], 'the container that holds'],
    [
      'asked for',
      box(),
      [...sides(running, running, running), seated('b', 'main', running, { killAsked: true })],
      ['main', 'b'],
      'the end of b was asked for'
    ]
  ]
  for (const [name, sandbox, all, ids, why] of table) {
    const { begin, end } = podStep(sandbox, all)
    t.same(begin, [], name)
    t.same(
      end.map((one) => one.containerId),
      ids,
      name
    )
    t.ok(
      end.every((one) => one.why.startsWith(`ended with its pod: ${why}`)),
      `${name}: ${end[0]?.why}`
    )
  }
  t.same(podStep(box(), sides(failed, running, running)).end, [], 'a side-car that served may fail')
  t.same(podStep(box(withPod), sides(withPod, withPod, finished)).end, [], 'and then nothing is left to be done')
})

const sides = (one: Told, two: Told, main: Told, isProbed = false): readonly Seated[] => [
  seated('one', 'sidecar', one, { isProbed }),
  seated('two', 'sidecar', two),
  seated('main', 'main', main)
]
