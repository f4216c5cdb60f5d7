import type { Test } from 'tap'
import { type Image, Machine } from './machine.ts'

/** Where `npm run test:vm` has put the disks. */
function disks(): Image & { readonly payload: string } {
  const given = process.env['HEARTH_VM']
  if (given === undefined) throw new Error('run these tests with npm run test:vm, which builds the machine')
  return JSON.parse(given)
}

/** A machine on which the package was just installed, as a user would; it ends with the test. */
export async function installedMachine(t: Test): Promise<Machine> {
  const { payload, ...image } = disks()
  const machine = await Machine.boot(image, payload)
  t.teardown(() => machine.stop())
  await machine.tell('mkdir /payload; mount -o ro /dev/vdb /payload')
  await machine.tell('dpkg --install /payload/hearth_[0-8]*.deb')
  await nodeIsActive(machine)
  return machine
}

/** Waits until the master counts the node among those that run tasks. */
export const nodeIsActive = (machine: Machine): Promise<string> =>
  machine.tell(`until hearth node list | grep -q active; do sleep 0.2; done`, 30)
