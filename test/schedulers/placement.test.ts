import t from 'tap'
import { completeMessage } from '../../proto/codec.ts'
import { scalar } from '../../proto/resources.ts'
import { place, whyItWaits } from '../../schedulers/placement.ts'

const mib = 1024 * 1024
const offer = (offerId: string, cpus: number, mem: number, role = '*') =>
  completeMessage('Offer', {
    offerId,
    hostname: `host-${offerId}`,
    role,
    resources: [scalar('cpus', cpus), scalar('mem', mem * mib)]
  })
const wish = (key: string, cpus: number, mem: number, role = '*') => ({
  key,
  role,
  resources: [scalar('cpus', cpus), scalar('mem', mem * mib)].filter((r) => r.scalar > 0),
  needs: [] as readonly string[]
})

t.test('wishes are placed where the most memory is free, and never beyond an offer', async (t) => {
  const table: readonly [string, ReturnType<typeof place>, Record<string, string[]>, string[]][] = [
    ['nothing wanted', place([], [offer('o', 1_000, 64)]), {}, []],
    ['nothing offered', place([wish('a', 100, 1)], []), {}, ['a']],
    ['the larger offer', place([wish('a', 100, 1)], [offer('o', 1_000, 64), offer('p', 1_000, 128)]), { p: ['a'] }, []],
    ['both fit into one', place([wish('a', 500, 32), wish('b', 500, 32)], [offer('o', 1_000, 64)]), { o: ['a', 'b'] }, []],
    ['the second waits', place([wish('a', 600, 1), wish('b', 600, 1)], [offer('o', 1_000, 64)]), { o: ['a'] }, ['b']],
    ['a small one passes a large one', place([wish('a', 9_000, 1), wish('b', 1, 1)], [offer('o', 10, 64)]), { o: ['b'] }, ['a']],
    [
      'they spread',
      place([wish('a', 100, 32), wish('b', 100, 32)], [offer('o', 1_000, 64), offer('p', 1_000, 60)]),
      { o: ['a'], p: ['b'] },
      []
    ],
    ['another role is not served', place([wish('a', 100, 1, 'db')], [offer('o', 1_000, 64)]), {}, ['a']],
    ['who asks for nothing fits anywhere', place([wish('a', 0, 0)], [offer('o', 10, 1)]), { o: ['a'] }, []]
  ]
  for (const [name, got, taken, left] of table) {
    t.same(Object.fromEntries(got.taken), taken, name)
    t.same(
      got.left.map((w) => w.key),
      left,
      name
    )
  }
})

t.test('a wish that waits says why', async (t) => {
  t.equal(whyItWaits(wish('a', 500, 0), []), 'waits for a node')
  t.equal(
    whyItWaits(wish('a', 500, 0), [offer('o', 100, 64)]),
    'waits for free resources: it asks for cpus 0.5, host-o has cpus 0.1, memory 64 MB free'
  )
})

t.test('a wish waits for a node that can do what it needs, and says what is missing', async (t) => {
  const able = { ...offer('o', 1_000, 64), capabilities: [{ name: 'limit.io', present: true, detail: 'cgroup v2, io.max' }] }
  const unable = {
    ...offer('p', 1_000, 128),
    capabilities: [{ name: 'limit.io', present: false, detail: 'no blkio controller is mounted' }]
  }
  const needy = { ...wish('a', 100, 1), needs: ['limit.io'] }
  t.same(Object.fromEntries(place([needy], [able, unable]).taken), { o: ['a'] })
  t.same(place([needy], [unable]).left, [needy])
  t.equal(
    whyItWaits(needy, [unable]),
    'waits for a node that can do what it asks for: host-p has no limit.io: no blkio controller is mounted'
  )
})
