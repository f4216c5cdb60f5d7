import t from 'tap'
import { newImageName } from '../../../agent/images/reference.ts'
import { parseChallenges } from '../../../agent/images/registry/challenge.ts'
import { canonicalReference, imageForms, remoteNameOf } from '../../../proto/image-name.ts'

const digest = `sha256:${'0a'.repeat(32)}`

t.test('the same image has one name, however it is written', async (t) => {
  const same: readonly (readonly [string, string | undefined])[] = [
    ['debian', 'debian:latest'],
    ['docker.io/library/debian:12', 'debian:12'],
    ['index.docker.io/library/debian:12', 'debian:12'],
    ['docker.io/anna/app', 'anna/app:latest'],
    ['Registry.Example:5000/App', undefined],
    ['Registry.Example:5000/app', 'registry.example:5000/app:latest'],
    ['localhost/app:V1', 'localhost/app:V1'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    [`app:1@${digest}`, `app@${digest}`],
    [`ghcr.io/a/b@${digest}`, `ghcr.io/a/b@${digest}`],
    ['app@sha256:12', undefined],
    ['app@md5:00', undefined],
    ['a_b.c/app', undefined],
    ['../etc', undefined],
    ['app/../b', undefined],
    ['app:', undefined],
    ['', undefined],
    ['a'.repeat(256), undefined]
  ]
  for (const [text, name] of same) t.equal(canonicalReference(text), name, text)
  t.throws(() => newImageName(`host@${digest}`), { code: 'invalid' })
})

t.test('a name tells its registry by Docker’s rules', async (t) => {
  const of = (text: string) => {
    const { registry, repository, reference } = remoteNameOf(canonicalReference(text) ?? '')
    return [registry, repository, reference]
  }
  t.same(of('debian'), ['docker.io', 'library/debian', 'latest'])
  t.same(of('anna/app:2'), ['docker.io', 'anna/app', '2'])
  t.same(of('localhost/app'), ['localhost', 'app', 'latest'])
  t.same(of('127.0.0.1:5000/a/b:2'), ['127.0.0.1:5000', 'a/b', '2'])
  t.same(of(`quay.io/a/b:1@${digest}`), ['quay.io', 'a/b', digest])
})

t.test('an image is known by every way to write it', async (t) => {
  const debian = [
    'debian',
    'debian:12',
    'docker.io/debian',
    'docker.io/debian:12',
    'docker.io/library/debian',
    'docker.io/library/debian:12'
  ]
  const all = [...debian, 'library/debian', 'library/debian:12']
  t.same([...imageForms('debian:12')].sort(), all.sort())
  t.same(
    imageForms('index.docker.io/library/debian:12')
      .filter((form) => !form.startsWith('index'))
      .sort(),
    all
  )
  t.same([...imageForms('Reg.Example/a/b')].sort(), ['Reg.Example/a/b', 'reg.example/a/b', 'reg.example/a/b:latest'])
  t.notOk(imageForms(`anna/app:1@${digest}`).includes('anna/app:1'), 'a tag beside a digest says nothing')
  t.ok(imageForms(`anna/app:1@${digest}`).includes(`docker.io/anna/app@${digest}`))
  t.same(imageForms('No Name:1'), ['No Name:1', 'No Name'])
})

t.test('challenges are read as RFC 9110 has them, and nonsense ends the reading', async (t) => {
  const read = (text: string) => parseChallenges(text).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])
  t.same(read('Basic realm="a, b"'), [['basic', { realm: 'a, b' }]])
  t.same(read('Negotiate, Bearer realm="https://x/t",service=y , scope="a:b:pull"'), [
    ['negotiate', {}],
    ['bearer', { realm: 'https://x/t', service: 'y', scope: 'a:b:pull' }]
  ])
  t.same(read('Bearer REALM="q\\"q"'), [['bearer', { realm: 'q"q' }]])
  t.same(read('"'), [])
  t.same(read(''), [])
})
