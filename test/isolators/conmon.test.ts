import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startConmon } from '../../isolators/runtime/oci/conmon.ts'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import { until } from '../support/until.ts'

const signal = new AbortController().signal
const ready = Promise.resolve()

/** A program in conmon's place, of one line of sh. */
function monitor(folder: string, line: string) {
  const program = join(folder, 'monitor')
  writeFileSync(program, `#!/bin/sh\n${line}\n`)
  chmodSync(program, 0o755)
  const request = {
    containerId: 'c1',
    bundleDir: folder,
    config: {},
    logPath: join(folder, 'log'),
    logMaxBytes: 1,
    terminal: false,
    openStdin: false,
    runtime: 'runc' as const,
    imageDigest: ''
  }
  return { places: { program, shim: '/bin/true', exitDir: folder }, request }
}

t.test('a monitor that ends before it may go on is a failed launch, not the end of the agent', async (t) => {
  const { places, request } = monitor(t.testdir(), `printf '{"data": -1, "message": "no"}\\n' >&3`)
  const gone = async (pid: number): Promise<void> => until(() => readProcess(pid) === undefined)
  t.same(await startConmon(places, request, { place: gone, ready }, signal), { message: 'no' })
  const intoCgroup = (pid: number) => gone(pid).then(() => Promise.reject(Object.assign(new Error(), { code: 'ESRCH' })))
  t.same(await startConmon(places, request, { place: intoCgroup, ready }, signal), { message: 'no' })
})

t.test('a monitor goes on only once it is where it belongs', async (t) => {
  const folder = t.testdir()
  const { places, request } = monitor(folder, `head -c 1 <&4 >/dev/null; printf '{"data": %s}\\n' "$(cat ${folder}/placed)" >&3`)
  const place = (pid: number): Promise<void> => writeFile(join(folder, 'placed'), String(pid))
  const answer = await startConmon(places, request, { place: place, ready }, signal)
  t.same(answer, { pid: Number(readFileSync(join(folder, 'placed'), 'utf8')) })
})

t.test('a monitor that cannot be put where it belongs is ended', async (t) => {
  const folder = t.testdir()
  const { places, request } = monitor(folder, `head -c 1 <&4 >/dev/null; touch ${folder}/went-on`)
  let placed = 0
  const refuse = (pid: number): Promise<void> => {
    placed = pid
    return Promise.reject(new Error('EBUSY'))
  }
  await t.rejects(startConmon(places, request, { place: refuse, ready }, signal), { message: 'EBUSY' })
  await until(() => readProcess(placed) === undefined)
  t.notOk(existsSync(join(folder, 'went-on')))
})
