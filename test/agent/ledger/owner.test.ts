import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { own } from '../../../agent/ledger/owner.ts'

const nobody = '65534'

t.test('a directory that is moved under its agent stays owned, a copy of it does not', async (t) => {
  const [here, there, copy] = ['here', 'there', 'copy'].map((name) => join(t.testdir({ here: {} }), name)) as [
    string,
    string,
    string
  ]
  const ownership = await own(here)
  renameSync(here, there)
  await t.rejects(own(there), { code: 'conflict', message: new RegExp(`^another agent \\(pid ${process.pid}\\) owns ${there}`) })
  execFileSync('cp', ['-a', there, copy])
  const other = await own(copy)
  ownership.release()
  ownership.release()
  const next = await own(there)
  await t.rejects(own(copy), { code: 'conflict' })
  next.release()
  other.release()
})

t.test('no other user can hold the directory before its agent does', async (t) => {
  const root = t.testdir()
  const directory = join(root, 'ledger')
  mkdirSync(directory, { mode: 0o700 })
  chmodSync(root, 0o755)
  const as = ['--reuid', nobody, '--regid', nobody, '--clear-groups', 'flock', '--nonblock', directory, 'true']
  const squatter = spawn('setpriv', as, { stdio: ['ignore', 'ignore', 'pipe'] })
  const said = squatter.stderr.setEncoding('utf8').toArray()
  const [code] = await once(squatter, 'exit')
  t.not(code, 0)
  t.match((await said).join(''), /Permission denied/)
  const ownership = await own(directory)
  ownership.release()
})
