import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { status } from '../../cli/commands/status.ts'
import { createContext } from '../../cli/context.ts'
import { identityOf } from '../../cli/process-identity.ts'

t.test('a node that systemd keeps is up, one that nobody keeps is not', async (t) => {
  const stateDir = t.testdir()
  let told = ''
  const stdout = {
    write(text: string) {
      told += text
      return true
    }
  }
  const streams = { stdin: process.stdin, stdout, stderr: stdout } as unknown as Parameters<typeof createContext>[1]
  const ask = (json = false): Promise<number> => {
    told = ''
    return status(createContext({ HEARTH_STATE_DIR: stateDir }, streams, new AbortController().signal), { json })
  }
  t.equal(await ask(), 3)
  t.equal(told, `hearth is not running in ${stateDir}\n`)

  const self = identityOf(process.pid)
  mkdirSync(join(stateDir, 'agent/ledger'), { recursive: true })
  writeFileSync(join(stateDir, 'agent/ledger/owner'), `${self?.pid} ${self?.startTicks} ${self?.bootId}\n`)
  t.equal(await ask(), 0)
  t.match(told, new RegExp(`hearth is up[^]*does not answer[^]*process ${process.pid}[^]*journalctl`))
  t.equal(await ask(true), 0)
  t.match(JSON.parse(told), { stateDir, running: true, master: false, agent: { pid: process.pid }, nodes: [] })
})
