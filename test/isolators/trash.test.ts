import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Trash } from '../../isolators/trash.ts'
import { until } from '../support/until.ts'

/** A trash whose pauses end when the test says so. */
function trashIn(t: Test): {
  trash: Trash
  root: string
  directory: string
  failed: string[]
  endPause: () => void
  layer: (id: string) => string
} {
  const root = t.testdir()
  const directory = join(root, 'trash')
  const failed: string[] = []
  let pauses: (() => void)[] = []
  const sleep = (_ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      pauses.push(resolve)
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })
  const trash = new Trash({ sleep, onFailure: (path) => failed.push(path) }, { directory, pauseMs: 1_000 })
  const endPause = (): void => {
    for (const end of pauses) end()
    pauses = []
  }
  const layer = (id: string): string => {
    const path = join(root, 'sandboxes', id, 'upper')
    mkdirSync(join(path, 'deep/er'), { recursive: true })
    writeFileSync(join(path, 'deep/er/file'), 'x')
    return path
  }
  return { trash, root, directory, failed, endPause, layer }
}

const deadline = (): AbortSignal => AbortSignal.timeout(10_000)
const isEmpty = (directory: string): boolean => readdirSync(directory).length === 0

t.test('what is thrown away is out of the way at once and deleted after the pause', async (t) => {
  const { trash, directory, endPause, layer } = trashIn(t)
  const path = layer('a')
  t.equal(trash.take(path), true)
  t.notOk(existsSync(path))
  t.same(readdirSync(directory), ['a-upper'])
  trash.take(layer('b'))
  endPause()
  await until(() => isEmpty(directory))
  trash.take(layer('c'))
  t.same(readdirSync(directory), ['c-upper'], 'a new pause begins')
  await trash.stop(deadline())
})

t.test('what an agent before left is deleted by the next, and by an end without a pause', async (t) => {
  const { trash, directory, endPause, layer } = trashIn(t)
  mkdirSync(join(directory, 'old-upper/x'), { recursive: true })
  await trash.start()
  endPause()
  await until(() => isEmpty(directory))
  trash.take(layer('a'))
  await trash.stop(deadline())
  t.ok(isEmpty(directory))
})

t.test('a path that is not there, or whose name is taken, is left to the caller', async (t) => {
  const { trash, root, layer } = trashIn(t)
  t.equal(trash.take(join(root, 'sandboxes/none/upper')), false)
  t.equal(trash.take(layer('a')), true)
  const again = layer('a')
  t.equal(trash.take(again), false)
  t.ok(existsSync(again))
  await trash.stop(deadline())
})
