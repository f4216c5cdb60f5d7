import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { gapsName, readGaps } from '../../agent/logs/gap-file.ts'
import { readLog } from '../../agent/logs/reader.ts'
import { LogRotation } from '../../agent/logs/rotation.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { noContainers } from '../support/bundle.ts'
import { containerHost } from '../support/containers.ts'
import { until } from '../support/until.ts'

const never = new AbortController().signal
const logMaxBytes = 256 * 1024

/** Runs a program that writes `kilobytes` while no agent looks, and then waits to be let go. */
async function unattended(t: Test, kilobytes: number) {
  const host = await containerHost(t)
  // The pauses make the files of conmon differ in age by more than the kernel's clock is coarse.
  const script = `while ! [ -e /sandbox/watched ]; do sleep 0.02; done; rm /sandbox/watched
    i=0; while [ $i -lt ${kilobytes / 64} ]; do i=$((i+1)); head -c 49000 /dev/zero | tr '\\0' x | fold -w 490; sleep 0.02; done
    : > /sandbox/written; while ! [ -e /sandbox/watched ]; do sleep 0.02; done; echo last words`
  const request = host.request(['sh', '-c', script])
  const launch = { ...(await host.prepare(request)), logMaxBytes }
  await host.runtime.launch(launch, AbortSignal.timeout(20_000))
  const rotated = { path: launch.logPath, controlPath: join(request.bundleDir, 'ctl'), fileBytes: 8 * 1024 * 1024, files: 9 }
  const file = (name: string): string => join(request.sandboxDir, 'files', name)
  const wait = () => host.runtime.wait(request.containerId, AbortSignal.timeout(20_000))
  return { rotated, file, wait }
}

async function shown(path: string): Promise<string> {
  const parts: string[] = []
  for await (const { data, gaps } of readLog({ path, follow: false }, AbortSignal.abort(), never))
    parts.push(...gaps.map(({ cause }) => `[${cause}]`), Buffer.from(data).toString('latin1'))
  return parts.join('')
}

const cases = [
  { kilobytes: 128, gaps: 0, what: 'less than conmon’s limit' },
  { kilobytes: 704, gaps: 0, what: 'less than three times the limit' },
  { kilobytes: 1408, gaps: 1, what: 'more than that' }
]

for (const { kilobytes, gaps, what } of cases) {
  t.test(`while the agent was away, a task wrote ${what}: ${gaps} gaps are told`, { skip: noContainers }, async (t) => {
    const { rotated, file, wait } = await unattended(t, kilobytes)
    const { path } = rotated
    const before = new LogRotation({ clock: systemClock, log: silentLog })
    before.watch(rotated)
    await until(() => existsSync(`${path}.next`))
    await before.stop()
    await writeFile(file('watched'), '')
    await until(() => existsSync(file('written')))
    const { next, after } = restarted(rotated)
    t.equal(next.gapsFound.get('unattended_bound') ?? 0, gaps, 'counted at the first look')
    await after()
    const again = restarted(rotated)
    t.equal(again.next.gapsFound.size, 0, 'an agent that looks once more finds nothing new')
    await writeFile(file('watched'), '')
    t.match(await wait(), { code: 0 })
    await again.next.unwatch(path)
    await again.after()
    t.equal(readGaps(gapsName(path)).length, gaps)
    const text = await shown(path)
    t.equal(text.split('[unattended_bound]').length - 1, gaps)
    t.equal(text.replaceAll(/[x\n]/g, ''), `${'[unattended_bound]'.repeat(gaps)}last words`.replace('\n', ''))
    if (gaps === 0) t.equal(text.split('x').length - 1, (kilobytes / 64) * 49_000, 'every byte is there')
  })
}

function restarted(rotated: Parameters<LogRotation['watch']>[0]) {
  const next = new LogRotation({ clock: systemClock, log: silentLog })
  next.watch(rotated)
  return { next, after: () => next.stop() }
}
