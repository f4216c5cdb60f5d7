import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { lockDirectory } from '../../../master/store/lock.ts'
import { newDirectory } from './wal-fixture.ts'

t.test('rule 8: a directory has one writer; the second is refused and told which directory', async (t) => {
  const directory = await newDirectory(t)
  const lock = await lockDirectory(directory)
  await t.rejects(lockDirectory(`${directory}/.`), {
    code: 'conflict',
    message: new RegExp(directory),
    detail: { directory: `${directory}/.` }
  })
  const other = await lockDirectory(await newDirectory(t))
  await other.release()
  await lock.release()
  await (await lockDirectory(directory)).release()
})

t.test('rule 8: a holder that was killed holds nothing any more', async (t) => {
  const directory = await newDirectory(t)
  const loader = process.execArgv.filter((argument) => argument.startsWith('--import'))
  const script = new URL('./lock-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [...loader, script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  await t.rejects(lockDirectory(directory), { code: 'conflict' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  await (await lockDirectory(directory)).release()
})
