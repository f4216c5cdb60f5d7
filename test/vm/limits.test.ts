import t, { type Test } from 'tap'
import { scope } from './crowd.ts'
import { installedMachine } from './installed.ts'
import type { Machine } from './machine.ts'
import { api, startTask, tasksAre } from './operator.ts'

/** What the kernel makes of the limits, on cgroup v2, from the operator's wish to the program that meets them. */

const machine = await installedMachine(t)
async function cgroupOf(machine: Machine, name: string): Promise<string> {
  const { containerId } = JSON.parse(await machine.tell(`${api}; api GET /v1/tasks/${name}`)) as { readonly containerId: string }
  return `${scope}/${containerId}`
}

const shell = (script: string): { readonly arguments: readonly string[] } => ({ arguments: ['bash', '-c', script] })
const remove = (...names: readonly string[]): Promise<string> => machine.tell(`hearth task rm --force ${names.join(' ')}`, 60)

/** Growth of a number in one of the cgroup's files over ten seconds of the machine, a second after it began; per second. */
async function ratePerSecond(t: Test, read: string): Promise<number> {
  const now = `$(${read}) $(cut -d' ' -f1 /proc/uptime)`
  const [from = 0, sinceS = 0, to = 0, untilS = 0] = (await machine.tell(`sleep 1; echo ${now}; sleep 10; echo ${now}`, 30))
    .split(/\s+/)
    .map(Number)
  t.ok(untilS - sinceS >= 10, `looked at for ${(untilS - sinceS).toFixed(1)} s`)
  return (to - from) / (untilS - sinceS)
}

const within = (actual: number, wanted: number, share: number): boolean => Math.abs(actual - wanted) <= wanted * share

t.test('the node has every limit, and says how', async (t) => {
  const { isolators } = JSON.parse(await machine.tell('hearth node isolators --json', 60)) as {
    readonly isolators: readonly {
      readonly name: string
      readonly capabilities: readonly { name: string; present: boolean; detail: string }[]
    }[]
  }
  const limits = isolators.find(({ name }) => name === 'cgroup')?.capabilities ?? []
  const missing = limits.filter(({ present }) => !present)
  t.comment(missing.map(({ name, detail }) => `${name}: ${detail}`).join('\n'))
  t.same(
    missing.map(({ name }) => name).filter((name) => name !== 'limit.io.weight'),
    []
  )
})

t.test('a fifth of a processor is a fifth of a processor', async (t) => {
  await startTask(machine, { name: 'fifth', milliCpu: 200, ...shell('while :; do :; done') })
  await tasksAre(machine, 'running', 1)
  const directory = await cgroupOf(machine, 'fifth')
  const usedUs = await ratePerSecond(t, `sed -n 's/^usage_usec //p' ${directory}/cpu.stat`)
  t.ok(within(usedUs, 200_000, 0.05), `${Math.round(usedUs)} µs a second`)
  t.comment(`${Math.round(usedUs)} µs a second of 200000`)
  await t.test('and after a change of the running task two fifths', async (t) => {
    await machine.tell('hearth task update --cpus 0.4 fifth', 60)
    const twiceUs = await ratePerSecond(t, `sed -n 's/^usage_usec //p' ${directory}/cpu.stat`)
    t.ok(within(twiceUs, 400_000, 0.05), `${Math.round(twiceUs)} µs a second`)
  })
  await remove('fifth')
})
