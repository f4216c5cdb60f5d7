import t from 'tap'
import { deadlines, guarded } from '../../isolators/guard.ts'
import type { Isolator, IsolatorRequest } from '../../isolators/isolator.ts'

// Time limits alone keep no process alive.
const alive = setInterval(() => undefined, 1_000)
t.teardown(() => clearInterval(alive))

const never = (): AbortSignal => new AbortController().signal
const hanging = <T>(): Promise<T> => new Promise(() => undefined)
const container = { containerId: 'c', made: [], journal: async () => undefined } as unknown as IsolatorRequest
const short = { ...deadlines, capabilities: 20, prepare: 20, cleanup: 20 }
const plain: Isolator = {
  name: 'stranger',
  capabilities: async () => [],
  prepare: async () => ({}),
  cleanup: async () => undefined
}

function watched(more: Partial<Isolator>, limits = short) {
  const troubles: string[] = []
  const isolator = guarded(
    { ...plain, ...more },
    (name, step, what) => what !== undefined && troubles.push(`${name} ${step} ${what}`),
    limits
  )
  return { isolator, troubles }
}

t.test('whatever is thrown becomes a Fault that names the isolator, its step and the cause', async (t) => {
  const throwing = (what: unknown) => ({
    prepare: (): Promise<never> => {
      throw what
    }
  })
  const { isolator, troubles } = watched(throwing(new Error('no room')))
  await t.rejects(isolator.prepare(container, never()), {
    name: 'Fault',
    code: 'unavailable',
    message: 'isolator stranger, prepare: no room'
  })
  t.same(troubles, ['stranger prepare isolator stranger, prepare: no room'])
  const coded = watched(throwing(Object.assign(new Error('x must be y'), { code: 'invalid' })))
  await t.rejects(coded.isolator.prepare(container, never()), { code: 'invalid' })
  await t.rejects(watched(throwing(undefined)).isolator.prepare(container, never()), { message: /prepare: undefined/ })
})

t.test('a step that hangs is given up at its deadline, and what a late one made is cleaned up', async (t) => {
  let finish = (): void => undefined
  const cleaned: string[] = []
  const { isolator } = watched({
    prepare: () => new Promise((resolve) => (finish = () => resolve({}))),
    cleanup: async ({ containerId }) => void cleaned.push(containerId)
  })
  await t.rejects(isolator.prepare(container, never()), {
    code: 'timeout',
    message: 'isolator stranger did not answer prepare within 0.02 s',
    detail: { reason: 'stage_timeout' }
  })
  t.same(cleaned, [])
  finish()
  await new Promise((resolve) => setImmediate(resolve))
  t.same(cleaned, ['c'])
  await t.rejects(watched({ cleanup: hanging }).isolator.cleanup(container, never()), { code: 'timeout' })
})

t.test('the caller’s own end of the wait is no trouble of the isolator', async (t) => {
  const { isolator, troubles } = watched({ prepare: hanging }, deadlines)
  const [asked, why] = [new AbortController(), new Error('killed')]
  const preparing = isolator.prepare(container, asked.signal)
  asked.abort(why)
  await t.rejects(preparing, why)
  t.same(troubles, [])
})

t.test('nonsense is refused', async (t) => {
  const nonsense = (value: unknown): never => value as never
  await t.rejects(watched({ prepare: async () => nonsense(7) }).isolator.prepare(container, never()), /it must be an object/)
  await t.rejects(watched({ capabilities: async () => nonsense([{ name: 'A b' }]) }).isolator.capabilities(never()), /no list of/)
  await t.rejects(
    async () => watched({ usage: async () => nonsense(null) }).isolator.usage?.(container, never()),
    /gave no usage/
  )
  t.same(await watched({ usage: async () => nonsense({ cpuUs: 1, memoryBytes: 'x' }) }).isolator.usage?.(container, never()), {
    cpuUs: 1
  })
  const limited = watched({ watch: async () => nonsense({ limit: 'cpu' }) })
  await t.rejects(async () => limited.isolator.watch?.(container, never()), /no \{limit, message\}/)
})

t.test('one that could not tell what it finds here is asked again before it prepares anything', async (t) => {
  let answers = 0
  const { isolator } = watched({
    capabilities: async () => {
      answers += 1
      if (answers === 1) throw new Error('its daemon is down')
      return []
    }
  })
  await t.rejects(isolator.capabilities(never()), /its daemon is down/)
  t.same(await isolator.prepare(container, never()), {})
  t.equal(answers, 2)
  t.same(await isolator.prepare(container, never()), {})
  t.equal(answers, 2)
})

t.test('what it makes is journaled under its name, and comes back to it alone', async (t) => {
  const journaled: string[] = []
  const seen: unknown[] = []
  const { isolator } = watched({
    prepare: async ({ journal }) => {
      await journal({ kind: 'other', id: '/x' })
      return {}
    },
    cleanup: async ({ made }) => void seen.push(made)
  })
  const journal: IsolatorRequest['journal'] = async ({ kind, id }) => void journaled.push(`${kind} ${id}`)
  await isolator.prepare({ ...container, journal }, never())
  t.same(journaled, ['other stranger:/x'])
  const made = [
    { kind: 'cgroup', id: '/c' },
    { kind: 'other', id: 'stranger:/x' },
    { kind: 'other', id: 'another:/y' }
  ] as const
  await isolator.cleanup({ ...container, made }, never())
  t.same(seen, [[{ kind: 'other', id: '/x' }]])
})
