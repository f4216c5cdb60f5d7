import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Cleanup } from '../bench/cleanup.ts'
import { causes } from '../campaign/causes/causes.ts'
import { noContainers } from '../support/bundle.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** A sample of `npm run campaign -- causes`. */
const sample = [
  'exits by itself',
  'touches wrong memory in a child',
  'kills its own child',
  'is killed from outside',
  'needs too much memory',
  'starts too many processes',
  'writes onto a full file system',
  'has no image',
  'is ended at once',
  'is killed from outside while no agent looks'
]

t.test('the first cause of a known failure is the right one', { skip: noContainers, timeout: 100_000 }, async (t) => {
  const cleanup = new Cleanup()
  const directory = mkdtempSync(join(tmpdir(), 'hc-'))
  cleanup.add(directory, () => rmSync(directory, { recursive: true, force: true }))
  const signal = new AbortController().signal
  const place = { root, directory, failures: directory, cleanup, signal }
  const campaign = await causes.open(place, { runs: undefined, seed: 7, long: false, more: {} })
  const names = [...campaign.names()].filter((name) => name.includes('variant 0') && sample.some((s) => name.endsWith(`: ${s}`)))
  t.equal(names.length, sample.length)
  try {
    for (const name of names) t.same((await campaign.run(name, signal)).violations, [], name)
  } finally {
    t.same(await cleanup.run(), [])
  }
})
