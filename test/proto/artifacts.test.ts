import t from 'tap'
import { checkArtifacts, filePathOf, targetOf } from '../../proto/artifacts.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Artifact } from '../../proto/gen/messages.ts'

const artifact = (of: Init<Artifact>): Artifact => completeMessage('Artifact', of)
const url = 'https://example.org/a/site.tar.gz?key=1'

t.test('an artifact lies at the end of its URL, or where its task says', async (t) => {
  t.equal(targetOf(artifact({ url })), 'site.tar.gz')
  t.equal(targetOf(artifact({ url, unpack: true })), 'site')
  t.equal(targetOf(artifact({ url: 'https://example.org/a%20b' })), 'a b')
  t.equal(targetOf(artifact({ url, target: '/sandbox/x/./y/' })), 'x/y')
  for (const target of ['..', '../x', 'a/../../x', '/etc/x', '/sandbox/', '/sandbox/..', '.', 'a\0b'])
    t.throws(() => targetOf(artifact({ url, target })), { code: 'invalid', message: /below the sandbox/ }, target)
  t.throws(() => targetOf(artifact({ url: 'https://example.org/' })), { code: 'invalid' })
  t.equal(filePathOf('file:/srv/a%20b'), '/srv/a b')
  t.equal(filePathOf(url), undefined)
})

t.test('a wrong artifact is told in one sentence', async (t) => {
  const check =
    (...given: Init<Artifact>[]) =>
    () =>
      checkArtifacts(given.map(artifact))
  t.doesNotThrow(check({ url }, { url, target: 'b' }, { url: 'file:///srv/x' }))
  t.throws(check({ url: 'ftp://x/y' }), { message: /no https, http or file URL/ })
  t.throws(check({ url: 'x' }), { message: /no https, http or file URL/ })
  t.throws(check({ url: 'https://a:b@c/d' }), { message: /holds no credentials/ })
  t.throws(check({ url: 'file://host/x' }), { message: /names a host/ })
  t.throws(check({ url, sha256: 'abc' }), { message: /64 hexadecimal digits/ })
  t.throws(check({ url, unpack: true, executable: true }), { message: /not both/ })
  t.throws(check({ url }, { url }), { message: /two artifacts are to lie at site.tar.gz/ })
  t.throws(check(...Array.from({ length: 65 }, (_, i) => ({ url, target: String(i) }))), { message: /at most 64/ })
})
