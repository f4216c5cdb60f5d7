import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'

/** faketime's library, by the directory of the architecture where Debian puts it. */
function fakeTimeLibrary(): string {
  const found = readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketime.so.1`)
    .find((path) => existsSync(path))
  if (found === undefined) throw new Error('libfaketime is not there: apt-get install faketime')
  return found
}

t.test(
  'over 400 days master and agent renew their certificates by themselves, and reach each other on every one of them',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'hearth-clock-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const clockFile = join(directory, 'clock')
    writeFileSync(clockFile, '+0d\n')
    const loader = process.execArgv.filter((argument) => argument.startsWith('--import'))
    const script = new URL('../../support/year-child.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [...loader, script, clockFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        LD_PRELOAD: fakeTimeLibrary(),
        FAKETIME_TIMESTAMP_FILE: clockFile,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        NO_FAKE_STAT: '1'
      }
    })
    t.teardown(() => child.kill('SIGKILL'))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    const lines = (await text(child.stdout)).trim().split('\n')
    t.equal(await ended, 0)
    t.equal(lines.length, 17)
    const [day, ofAgent, ofMaster] = (lines.at(-1) ?? '').split(' ').map(Number)
    t.equal(day, 400)
    t.ok((ofAgent ?? 0) >= 5 && (ofAgent ?? 0) <= 8, `${ofAgent} certificates of the agent`)
    t.ok((ofMaster ?? 0) >= 5 && (ofMaster ?? 0) <= 8, `${ofMaster} certificates of the master`)
  }
)
