import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { livingAgent, unitOf } from '../../cli/commands/node-stop.ts'
import { identityOf } from '../../cli/process-identity.ts'
import { stateLayout } from '../../cli/state-layout.ts'

t.test('the agent is the living process that owns the ledger, and no other of its number', async (t) => {
  const layout = stateLayout(t.testdir())
  t.equal(livingAgent(layout), undefined)
  const path = join(layout.stateDir, 'agent/ledger')
  mkdirSync(path, { recursive: true })
  const own = identityOf(process.pid)
  writeFileSync(join(path, 'owner'), `${own?.pid} ${own?.startTicks} ${own?.bootId}\n`)
  t.same(livingAgent(layout), own)
  for (const text of [`${own?.pid} 1 ${own?.bootId}\n`, `${own?.pid} ${own?.startTicks} another-boot\n`, 'x', '', '-1 2 3']) {
    writeFileSync(join(path, 'owner'), text)
    t.equal(livingAgent(layout), undefined, JSON.stringify(readFileSync(join(path, 'owner'), 'utf8')))
  }
})

t.test('a unit is known by its cgroup and by its leaf, a session is none', async (t) => {
  t.equal(unitOf('1:cpu:/\n0::/system.slice/hearth-agent.service/agent\n'), 'hearth-agent.service')
  t.equal(unitOf('0::/system.slice/hearth-agent.service\n'), 'hearth-agent.service')
  t.equal(unitOf('0::/user.slice/user-0.slice/session-1.scope\n'), undefined)
  t.equal(unitOf('0::/\n'), undefined)
})
