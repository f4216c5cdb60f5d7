import t from 'tap'
import { parseArtifact } from '../../cli/artifact-option.ts'

t.test('an artifact is named by its URL, with options after commas', async (t) => {
  const hex = 'AB'.repeat(32)
  t.same(parseArtifact('https://a/b,c'), { url: 'https://a/b,c' })
  t.same(parseArtifact(`https://a/b?x=1,2,sha256=sha256:${hex},unpack,to=site`), {
    ...{ url: 'https://a/b?x=1,2', sha256: hex.toLowerCase(), unpack: true, target: 'site' }
  })
  t.same(parseArtifact('file:/srv/tool,executable'), { url: 'file:/srv/tool', executable: true })
  for (const text of ['', 'b', ',unpack', '/srv/tool']) t.throws(() => parseArtifact(text), { code: 'invalid' }, text)
})
