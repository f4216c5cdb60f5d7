import t from 'tap'
import type { BundlePart } from '../../isolators/isolator.ts'
import { checkTogether, unfitPart } from '../../isolators/part.ts'

t.test('a part has the fields of a bundle and nothing else', async (t) => {
  const sound: BundlePart = { env: ['A=1'], mounts: [{ destination: '/a', type: 'bind', source: '/b', options: [] }] }
  t.equal(unfitPart(sound), undefined)
  t.equal(unfitPart({}), undefined)
  for (const [part, complaint] of [
    [undefined, /gave undefined/],
    [null, /gave null/],
    ['x', /gave string/],
    [[], /it must be an object/],
    [{ hooks: {} }, /set "hooks", which no part of a bundle has/],
    [{ env: 'A=1' }, /a list for env/],
    [{ env: ['a\0'] }, /without zero bytes for env/],
    [{ mounts: [{ destination: '/a', type: 'bind', source: 7, options: [] }] }, /an object whose source is a text.* for mounts/],
    [{ rlimits: [{ type: 'RLIMIT_NOFILE', hard: -1, soft: 0 }] }, /whose hard is a whole number/],
    [{ noNewPrivileges: 'yes' }, /true or false for noNewPrivileges/],
    [{ env: ['x'.repeat(2_000_000)] }, /more than 1048576/]
  ] as const)
    t.match(unfitPart(part), complaint)
})

t.test('two isolators that set the same thing are both named', async (t) => {
  const of = (isolator: string, part: BundlePart) => ({ isolator, part })
  checkTogether([
    of('a', { env: ['A=1'], namespaces: [{ type: 'pid' }] }),
    of('b', { env: ['A=2'], namespaces: [{ type: 'ipc' }] })
  ])
  t.throws(() => checkTogether([of('a', { rootPath: '/x' }), of('b', { rootPath: '/y' })]), {
    code: 'invalid',
    message: 'the isolators a and b both set rootPath of the container: leave one of them out, or change it'
  })
  t.throws(
    () => checkTogether([of('a', { namespaces: [{ type: 'pid' }] }), of('b', { namespaces: [{ type: 'pid', path: '/n' }] })]),
    {
      message: /a and b both set the pid namespace/
    }
  )
})
