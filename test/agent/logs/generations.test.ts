import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { listGenerations } from '../../../agent/logs/generations.ts'

/** What the listed files hold, newest first; each file of the test holds its age. */
async function agesOf(t: Test, files: NonNullable<Parameters<Test['testdir']>[0]>): Promise<readonly string[]> {
  const directory = t.testdir(files)
  return (await listGenerations(join(directory, 'log'))).map(({ path }) => `${basename(path)} ${readFileSync(path, 'utf8')}`)
}

t.test('the empty file that lies ready is none of the log', async (t) => {
  const files = { log: 'newest', 'log.next': '', 'log.tmp': '', 'log.1': 'second', 'log.2': 'oldest' }
  t.same(await agesOf(t, files), ['log newest', 'log.1 second', 'log.2 oldest'])
})

t.test('a file that conmon took, and replaced before anybody looked, is older than the one in its place', async (t) => {
  const files = { log: 'newest', 'log.next': 'second', 'log.held': 'third', 'log.1': 'oldest' }
  t.same(await agesOf(t, files), ['log newest', 'log.next second', 'log.held third', 'log.1 oldest'])
})

t.test('one file under two names counts once, by the older name', async (t) => {
  const files = { log: 'newest', 'log.next': t.fixture('link', 'log'), 'log.held': t.fixture('link', 'log'), 'log.1': 'oldest' }
  t.same(await agesOf(t, files), ['log.held newest', 'log.1 oldest'])
})
