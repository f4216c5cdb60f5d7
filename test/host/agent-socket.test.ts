import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { serveLocalApi } from '../../agent/local-api/server.ts'
import { silentLog } from '../../base/log.ts'

/** Any group of this host will do: the agent's own is looked up by name in the same way. */
const someGroup = 'daemon'
const gidOf = (name: string): number =>
  Number(
    readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((line) => line.startsWith(`${name}:`))
      ?.split(':')[2]
  )

const ask = `
const { request } = require('node:http')
const call = request({ socketPath: process.argv[1], path: '/', agent: false }, (r) => console.log(r.resume().statusCode))
call.on('error', (e) => console.log(e.code))
call.end()`

/** What a process of this user and group gets from the socket. The server runs in this process, so it must not wait for it. */
function answerFor(path: string, uid: number, gid: number): Promise<string> {
  return new Promise((resolve, reject) => {
    // uid and gid alone: spawn leaves root's other groups, which setpriv takes away.
    const args = ['--reuid', String(uid), '--regid', String(gid), '--clear-groups', process.execPath, '-e', ask, path]
    execFile('setpriv', args, { cwd: '/', env: { PATH: process.env['PATH'] } }, (e, stdout) =>
      e ? reject(e) : resolve(stdout.trim())
    )
  })
}

const skip = process.getuid?.() !== 0 || spawnSync('setpriv', ['--version']).status !== 0 ? 'needs root and setpriv' : false

t.test('the agent’s socket is for root and one group; the kernel refuses everybody else', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-door-'))
  chmodSync(directory, 0o711)
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const router = async () => ({ status: 200, contentType: 'text/plain', body: (async function* () {})() })
  const serve = async (name: string, group: string) => {
    const path = join(directory, name)
    const service = serveLocalApi({ router, log: silentLog }, { path, mode: 0o660, group })
    await service.start()
    t.teardown(() => service.stop(AbortSignal.timeout(5_000)))
    return path
  }
  const nobody = 65_534
  const [withGroup, without] = [await serve('a', someGroup), await serve('b', 'no-such-group')]
  t.match(statSync(withGroup), { uid: 0, gid: gidOf(someGroup) })
  t.equal(statSync(withGroup).mode & 0o777, 0o660)
  t.equal(await answerFor(withGroup, 0, 0), '200')
  t.equal(await answerFor(withGroup, nobody, gidOf(someGroup)), '200')
  t.equal(await answerFor(withGroup, nobody, nobody), 'EACCES')
  t.match(statSync(without), { uid: 0, gid: 0 }, 'a host without the group leaves it to root')
  t.equal(await answerFor(without, nobody, gidOf(someGroup)), 'EACCES')
  t.equal(await answerFor(without, 0, 0), '200')
})
