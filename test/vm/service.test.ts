import t from 'tap'
import { installedMachine } from './installed.ts'

const machine = await installedMachine(t)

t.test('the package brings up a node, on a host without Node', async (t) => {
  t.equal((await machine.run('command -v node')).code, 1)
  t.equal(await machine.tell('systemctl is-active hearth-agent hearth-master'), 'active\nactive')
  t.equal(await machine.tell('hearth task run --rm host -- echo hello'), 'hello')
  t.equal((await machine.run('hearth task run --rm host -- sh -c "exit 7"')).code, 7)
})
