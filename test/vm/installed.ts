import type { Test } from 'tap'
import { type Image, Machine, timeFactor } from './machine.ts'
import { nodeIsActive } from './operator.ts'

/** Where `npm run test:vm` has put the disks. */
function disks(): Image & { readonly payload: string } {
  const given = process.env['HEARTH_VM']
  if (given === undefined) throw new Error('run these tests with npm run test:vm, which builds the machine')
  return JSON.parse(given)
}

/** The units' own time-outs are meant for machines that are not emulated. */
const slowUnits = `
mkdir -p /etc/systemd/system/hearth-agent.service.d
cat > /etc/systemd/system/hearth-agent.service.d/slow.conf <<E
[Service]
TimeoutStartSec=${120 * timeFactor}
TimeoutStopSec=${30 * timeFactor}
WatchdogSec=${6 * timeFactor}
Environment=HEARTH_UPGRADE_DEADLINE_S=${30 * timeFactor}
E
mkdir -p /etc/systemd/system/hearth-shutdown.service.d
printf '[Service]\\nTimeoutStopSec=${90 * timeFactor}\\n' > /etc/systemd/system/hearth-shutdown.service.d/slow.conf
`

/** A machine on which the package was just installed, as a user would; it ends with the test. */
export async function installedMachine(t: Test): Promise<Machine> {
  const { payload, ...image } = disks()
  const machine = await Machine.boot(image, payload)
  t.teardown(() => machine.stop())
  await machine.tell(slowUnits)
  await machine.tell('mkdir /payload; mount -o ro /dev/vdb /payload')
  await machine.tell('dpkg --install $(ls /payload/hearth_*.deb | grep -v _9.0.0_)')
  await nodeIsActive(machine)
  return machine
}
