import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../base/random.ts'
import { checkHistory, checkKey } from './checker.ts'
import { type Operation, type RegisterAction, register } from './history.ts'

type Call = Operation<RegisterAction>

const budget = 1_000_000
const operation = (action: RegisterAction, call: number, end: number): Call => ({ key: 'k', action, call, return: end })
const write = (value: number, call: number, end: number): Call => operation({ kind: 'write', value }, call, end)
const read = (saw: number, call: number, end: number): Call => operation({ kind: 'read', saw }, call, end)

/** Tries every order; those that nobody saw the end of may be left out. */
function byTrial(left: readonly Call[], state: number): boolean {
  if (left.every((one) => one.return === Number.POSITIVE_INFINITY)) return true
  const firstEnd = Math.min(...left.map((one) => one.return))
  return left.some((one, at) => {
    if (one.call > firstEnd) return false
    const next = register.step(state, one.action)
    return next !== undefined && byTrial(left.toSpliced(at, 1), next)
  })
}

const action: fc.Arbitrary<RegisterAction> = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), value: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ kind: fc.constant('read' as const), saw: fc.integer({ min: 0, max: 3 }) }),
  fc.record({
    kind: fc.constant('swap' as const),
    expected: fc.integer({ min: 0, max: 3 }),
    value: fc.integer({ min: 1, max: 3 }),
    swapped: fc.constantFrom(true, false, undefined)
  })
)

const small = fc.array(
  fc.record({
    action,
    call: fc.integer({ min: 0, max: 9 }),
    took: fc.integer({ min: 0, max: 6 }),
    isKnown: fc.integer({ min: 0, max: 5 })
  }),
  { maxLength: 8 }
)

t.test('agrees with trying every order, on histories good and bad', async (t) => {
  const seen = { linearizable: 0, violated: 0, unknown: 0 }
  fc.assert(
    fc.property(small, (calls) => {
      const history = calls.map(({ action, call, took, isKnown }) => {
        const isOpen = isKnown === 0 && action.kind !== 'read'
        return operation(action, call, isOpen ? Number.POSITIVE_INFINITY : call + took)
      })
      const verdict = checkKey(history, register, budget)
      seen[verdict]++
      return verdict === (byTrial(history, register.initial) ? 'linearizable' : 'violated')
    }),
    { numRuns: 1500 }
  )
  t.ok(seen.linearizable > 100 && seen.violated > 100, JSON.stringify(seen))
})

t.test('known histories', async (t) => {
  const cases: readonly (readonly [sentence: string, history: readonly Call[], verdict: string])[] = [
    ['nothing happened', [], 'linearizable'],
    ['a read of what was written', [write(1, 0, 1), read(1, 2, 3)], 'linearizable'],
    ['a stale read', [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)], 'violated'],
    ['a read beside a write sees either', [write(1, 0, 1), write(2, 2, 5), read(1, 3, 4)], 'linearizable'],
    ['two reads beside a write that see it and then do not', [write(1, 0, 9), read(1, 1, 2), read(0, 3, 4)], 'violated'],
    [
      'a write of unknown outcome that shows much later',
      [write(1, 0, Number.POSITIVE_INFINITY), read(0, 1, 2), read(1, 8, 9)],
      'linearizable'
    ],
    [
      'a write of unknown outcome that comes and goes',
      [write(1, 0, Number.POSITIVE_INFINITY), read(1, 1, 2), read(0, 3, 4)],
      'violated'
    ],
    ['a value that nobody wrote', [write(1, 0, 1), read(7, 2, 3)], 'violated']
  ]
  for (const [sentence, history, verdict] of cases) t.equal(checkKey(history, register, budget), verdict, sentence)
})

/** What clients of a register that really is one see: each takes effect at a moment between its call and its return. */
function realHistory(seed: number, clients: number, operations: number): readonly Call[] {
  const random = seededRandom(seed)
  const moments: { client: number; at: number; call: number; end: number; value: number | undefined }[] = []
  const free = new Array<number>(clients).fill(0)
  for (let i = 0; i < operations; i++) {
    const client = random.between(0, clients - 1)
    const call = (free[client] ?? 0) + random.between(1, 20)
    const at = call + random.between(1, 20)
    const end = at + random.between(1, 20)
    free[client] = end
    moments.push({ client, call, at, end, value: random.between(0, 2) === 0 ? i + 1 : undefined })
  }
  moments.sort((a, b) => a.at - b.at)
  let state = 0
  return moments.map(({ call, end, value }) => {
    if (value === undefined) return read(state, call, end)
    state = value
    return write(value, call, end)
  })
}

t.test('what a real register did passes, and one read of what came too late or is gone does not', async (t) => {
  let mutants = 0
  for (let seed = 1; seed <= 40; seed++) {
    const history = realHistory(seed, 8, 300)
    t.equal(checkKey(history, register, budget), 'linearizable', `seed ${seed}`)
    const at = history.findIndex((one) => one.action.kind === 'read' && one.action.saw !== 0 && one.call > 1000)
    const late = history.find(
      (one) => one.action.kind === 'write' && one.call > (history[at]?.return ?? Number.POSITIVE_INFINITY)
    )
    const mutant = history[at]
    if (mutant === undefined || late?.action.kind !== 'write') continue
    mutants++
    const fromTheFuture = history.with(at, { ...mutant, action: { kind: 'read', saw: late.action.value } })
    t.equal(checkKey(fromTheFuture, register, budget), 'violated', `seed ${seed}, from the future`)
    const forgotten = history.with(at, { ...mutant, action: { kind: 'read', saw: 0 } })
    t.equal(checkKey(forgotten, register, budget), 'violated', `seed ${seed}, all forgotten`)
  }
  t.ok(mutants > 30, `${mutants} mutants`)
})

t.test('two reads of one history whose answers are swapped are found', async (t) => {
  let found = 0
  for (let seed = 1; seed <= 40; seed++) {
    const history = realHistory(seed, 4, 200)
    const reads = history.flatMap((one, at) =>
      one.action.kind === 'read' && one.action.saw !== 0 ? [{ one, at, saw: one.action.saw }] : []
    )
    const [first] = reads
    // A write lies wholly between the two, so neither can have seen what the other saw.
    const other = reads.find(({ one, saw }) => {
      const between = (w: Call) => w.action.kind === 'write' && w.call > (first?.one.return ?? 0) && w.return < one.call
      return saw !== first?.saw && history.some(between)
    })
    if (first === undefined || other === undefined) continue
    const swapped = history
      .with(first.at, { ...first.one, action: { kind: 'read', saw: other.saw } })
      .with(other.at, { ...other.one, action: { kind: 'read', saw: first.saw } })
    t.equal(checkKey(swapped, register, budget), 'violated', `seed ${seed}`)
    found++
  }
  t.ok(found > 30, `${found} histories`)
})

t.test('each key stands for itself, and a budget that is used up is no pass', async (t) => {
  const good = realHistory(1, 6, 100)
  const bad = [write(1, 0, 1), read(2, 2, 3)].map((one) => ({ ...one, key: 'bad' }))
  t.strictSame(checkHistory([...good, ...bad], register, budget), [
    { key: 'k', verdict: 'linearizable', operations: 100 },
    { key: 'bad', verdict: 'violated', operations: 2 }
  ])
  t.equal(checkKey(good, register, 10), 'unknown')
})
