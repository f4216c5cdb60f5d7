import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { until } from '../support/until.ts'

const program = join(import.meta.dirname, '../../dist/health.cjs')

t.test('checks end with the one who asked for them, however that one ends', async (t) => {
  const checks = t.testdir()
  chmodSync(checks, 0o755)
  writeFileSync(
    join(checks, 'hangs'),
    '#!/bin/sh\nsleep 1000 & echo $! > "$(dirname "$0")/pid.draft"\nmv "$(dirname "$0")/pid.draft" "$(dirname "$0")/pid"\nwait\n'
  )
  chmodSync(join(checks, 'hangs'), 0o755)
  const child = spawn(
    process.execPath,
    [program, 'thorough', '0', '--state-dir', checks, '--checks-dir', checks, '--health-dns', 'no'],
    {
      stdio: ['pipe', 'ignore', 'ignore']
    }
  )
  const pidFile = join(checks, 'pid')
  await until(() => existsSync(pidFile))
  const pid = Number(readFileSync(pidFile, 'utf8'))
  t.ok(existsSync(`/proc/${pid}`))
  child.stdin.destroy() // what the kernel does when the agent is killed
  await once(child, 'exit')
  await until(() => !existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')))
  t.pass('nothing is left')
})

t.test('the program refuses what it does not know in one sentence', async (t) => {
  const child = spawn(process.execPath, [program, 'nonsense'], { stdio: ['pipe', 'ignore', 'pipe'] })
  const said: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk))
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 64)
  t.equal(Buffer.concat(said).toString(), 'health.cjs takes one of all, thorough, hardware, top, not "nonsense"\n')
})
