import t from 'tap'
import { checkGroup } from '../../master/launch-check.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskGroup } from '../../proto/gen/messages.ts'
import { scalar } from '../../proto/resources.ts'
import { usualPolicy } from '../../proto/tenant-policy.ts'

const against = {
  frameworkId: 'f',
  role: '*',
  resources: [scalar('cpus', 1_000)],
  restarts: false,
  leases: true,
  policy: usualPolicy,
  capabilities: [{ name: 'pods', present: true, detail: '' }]
}
const verdict = (group: Init<TaskGroup>) =>
  checkGroup(completeMessage('TaskGroup', { frameworkId: 'f', role: '*', tasks: [{ taskId: 'a' }], ...group }), against)

t.test('a group is launched only where it belongs and fits', async (t) => {
  const table: readonly [string, Init<TaskGroup>, object][] = [
    ['a plain task', {}, { kind: 'fits', tasks: [{ taskId: 'a', resources: [] }], resources: [] }],
    ['all of the offer', { tasks: [{ taskId: 'a', resources: [scalar('cpus', 1_000)] }] }, { kind: 'fits' }],
    [
      'too much',
      { tasks: [{ taskId: 'a', resources: [scalar('cpus', 1_001)] }] },
      { state: 'dropped', reason: 'invalid_offers', message: /cpus 1.001/ }
    ],
    ['a resource that is not offered', { tasks: [{ taskId: 'a', resources: [scalar('gpus', 1)] }] }, { state: 'dropped' }],
    [
      'a resource without a name',
      { tasks: [{ taskId: 'a', resources: [{ kind: 'scalar', scalar: 1 }] }] },
      { state: 'error', reason: 'task_invalid' }
    ],
    ['nothing', { tasks: [] }, { state: 'error', reason: 'unsupported_request', message: /at least one/ }],
    [
      'a pod',
      {
        tasks: [
          { taskId: 'a', resources: [scalar('cpus', 400)] },
          { taskId: 'b', resources: [scalar('cpus', 600)] }
        ]
      },
      { kind: 'fits', tasks: [{ taskId: 'a' }, { taskId: 'b' }], resources: [scalar('cpus', 1_000)] }
    ],
    [
      'a pod that is too much as a whole',
      {
        tasks: [
          { taskId: 'a', resources: [scalar('cpus', 401)] },
          { taskId: 'b', resources: [scalar('cpus', 600)] }
        ]
      },
      { state: 'dropped', reason: 'invalid_offers', message: /the pod asks for cpus 1.001/ }
    ],
    ['a pod of twins', { tasks: [{ taskId: 'a' }, { taskId: 'a' }] }, { state: 'error', message: /two containers of the pod/ }],
    [
      'an init container with a probe',
      { tasks: [{ taskId: 'a' }, { taskId: 'b', part: 'init', probes: [{ purpose: 'readiness' }] }] },
      { state: 'error', reason: 'task_invalid', message: /has a probe/ }
    ],
    [
      'two networks',
      { tasks: [{ taskId: 'a' }, { taskId: 'b', network: { mode: 'none' } }] },
      { state: 'error', reason: 'task_invalid', message: /one network/ }
    ],
    ['an executor', { executor: { executorId: 'x' } }, { state: 'error', reason: 'unsupported_request' }],
    ['another framework', { frameworkId: 'g' }, { state: 'error', reason: 'task_invalid' }],
    ['another role', { role: 'db' }, { state: 'dropped', reason: 'invalid_offers' }],
    ['a task that is never restarted', { tasks: [{ taskId: 'a', restart: { mode: 'never' } }] }, { kind: 'fits' }],
    [
      'a restart in place for a stranger’s task',
      { tasks: [{ taskId: 'a', restart: { mode: 'always' } }] },
      { state: 'error', reason: 'unsupported_request', message: /agents restart no tasks of framework f: leave restart out/ }
    ],
    ['a name that is a path', { tasks: [{ taskId: '../a' }] }, { state: 'error', reason: 'task_invalid' }],
    [
      'a capability that the role may not add',
      { tasks: [{ taskId: 'a', walls: { addCapabilities: ['CAP_NET_RAW'] } }] },
      { state: 'error', reason: 'policy_refused', message: /may not add CAP_NET_RAW/ }
    ],
    [
      'a lease that no agent can hold',
      { tasks: [{ taskId: 'a', lease: { lengthMs: 2_999 } }] },
      { message: /ask for 3 s to 24 h/ }
    ],
    ['a lease', { tasks: [{ taskId: 'a', lease: { lengthMs: 3_000 } }] }, { kind: 'fits' }],
    ['more than a frame', { tasks: [{ taskId: 'a', image: 'x'.repeat(5_000_000) }] }, { state: 'error', message: /limit/ }]
  ]
  for (const [name, group, wanted] of table) t.match(verdict(group), wanted, name)
})

t.test('an image that has to be signed goes to no agent that would not look', async (t) => {
  const policy = { ...usualPolicy, role: 'shop', signatures: [{ images: 'reg.example/*', keys: ['pem'], anyName: false }] }
  const of = (image: string, names: readonly string[]) => {
    const capabilities = names.map((name) => ({ name, present: true, detail: '' }))
    const group = completeMessage('TaskGroup', { frameworkId: 'f', role: '*', tasks: [{ taskId: 'a', image }] })
    return checkGroup(group, { ...against, policy, capabilities })
  }
  t.match(of('reg.example/web', []), { reason: 'policy_refused', message: /asks for signed images, .* upgrade it/ })
  t.match(of('reg.example/web', ['image.signatures']), { kind: 'fits' })
  for (const image of ['other.example/web', 'host']) t.match(of(image, []), { kind: 'fits' })
})
