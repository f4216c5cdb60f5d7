import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { draftOf, replaceFile } from '../../base/replace-file.ts'

t.test('a file is replaced whole, whatever a dead writer left', async (t) => {
  const path = join(t.testdir({ note: 'old' }), 'note')
  writeFileSync(draftOf(path), 'half')
  await replaceFile(path, 'new')
  t.equal(readFileSync(path, 'utf8'), 'new')
})

t.test('a draft that cannot take its place goes', async (t) => {
  const directory = t.testdir({})
  mkdirSync(join(directory, 'note'))
  await t.rejects(replaceFile(join(directory, 'note'), 'new'), { code: 'EISDIR' })
  t.same(readdirSync(directory), ['note'])
})
