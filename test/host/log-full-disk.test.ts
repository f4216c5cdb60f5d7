import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
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

const lines = 4_000
const lineOf = (n: number): string => `line ${n} ${'x'.repeat(100)}`
const never = new AbortController().signal

function mountSmall(path: string, size: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path])
}

/** A container whose sandbox and log lie on 512 KiB, of which 128 KiB are held until the test lets go. */
async function start(t: Test) {
  const host = await containerHost(t)
  const disk = join(host.directory, 'sandboxes')
  mkdirSync(disk)
  const script = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i ${'x'.repeat(100)}"; done
    : > /sandbox/written; while [ -e /sandbox/held ]; do sleep 0.02; done; echo last words; exit 7`
  const request = host.request(['sh', '-c', script])
  mountSmall(disk, '512k')
  const remove = async (): Promise<void> => {
    await host.remove(request)
    execFileSync('umount', [disk])
  }
  const launch = await host.prepare(request)
  const [held, written] = ['held', 'written'].map((name) => join(request.sandboxDir, 'files', name)) as [string, string]
  writeFileSync(held, Buffer.alloc(128 * 1024))
  await host.runtime.launch(launch, AbortSignal.timeout(20_000))
  const wait = () => host.runtime.wait(request.containerId, AbortSignal.timeout(20_000))
  return { disk, path: launch.logPath, controlPath: join(request.bundleDir, 'ctl'), held, written, wait, remove }
}

const isFull = (disk: string): boolean => statfsSync(disk).bavail === 0

async function textOf(pieces: AsyncIterable<{ readonly data: Uint8Array }>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const { data } of pieces) chunks.push(data)
  return Buffer.concat(chunks).toString()
}

t.test('a program that writes its log onto a full disk', { skip: noContainers }, async (t) => {
  t.test('is not held up, its end is known, and its log lacks what had no room and nothing else', async (t) => {
    const container = await start(t)
    try {
      const ended = new AbortController()
      const followed = textOf(readLog({ path: container.path, follow: true }, ended.signal, never))
      await until(() => existsSync(container.written))
      t.ok(isFull(container.disk), 'the disk is full')
      rmSync(container.held)
      t.match(await container.wait(), { kind: 'exited', code: 7 })
      ended.abort()
      const log = await textOf(readLog({ path: container.path, follow: false }, ended.signal, never))
      t.equal(await followed, log, 'a reader that follows sees the same')
      const seen = log.split('\n').slice(0, -1)
      t.match(seen.pop(), /last words$/, 'with room again the log goes on')
      const numbers = seen.map((line) => Number(line.split(' ')[1]))
      const lost: string[] = []
      for await (const { gaps } of readLog({ path: container.path, follow: false }, ended.signal, never))
        lost.push(...gaps.map(({ cause }) => cause))
      t.same(lost, ['disk_full'], 'the reader is told once that something is missing')
      const torn = seen.filter((line, i) => line !== lineOf(numbers[i] ?? 0))
      t.ok(torn.length <= 1, 'at most one line was cut')
      t.ok(seen.length > 1000 && seen.length < lines, `${seen.length} of ${lines} lines had room`)
      t.same(
        numbers,
        [...new Set(numbers)].sort((a, b) => a - b),
        'all in order, none twice'
      )
      t.match(await textOf(readLog({ path: container.path, follow: false, tailLines: 1 }, ended.signal, never)), /last words\n$/)
    } finally {
      await container.remove()
    }
  })

  t.test('has a log that is rotated all the same', async (t) => {
    const container = await start(t)
    const rotation = new LogRotation({ clock: systemClock, log: silentLog })
    try {
      rotation.watch({ path: container.path, controlPath: container.controlPath, fileBytes: 64 * 1024, files: 20 })
      await until(() => existsSync(container.written))
      t.ok(isFull(container.disk), 'the disk is full')
      await until(() => rotation.gapsFound.get('disk_full') === 1)
      rmSync(container.held)
      t.match(await container.wait(), { kind: 'exited', code: 7 })
      await rotation.unwatch(container.path)
      const log = await textOf(readLog({ path: container.path, follow: false }, AbortSignal.abort(), never))
      t.match(log, /last words\n$/)
      await rotation.stop()
      t.equal(rotation.gapsFound.get('disk_full'), 1, 'and the loss is counted once')
      t.match(readGaps(gapsName(container.path)), [{ cause: 'disk_full' }], 'and noted beside the log')
    } finally {
      await container.remove()
    }
  })
})

t.test('where even the exit code has no room, the end is known and not told as a success', { skip: noContainers }, async (t) => {
  const disk = mkdtempSync(join(tmpdir(), 'hearth-full-'))
  mountSmall(disk, '8m')
  const before = process.env['TMPDIR']
  process.env['TMPDIR'] = disk
  // A teardown of its own, so that the mount goes after all that is on it.
  t.teardown(() => {
    execFileSync('umount', [disk])
    rmdirSync(disk)
  })
  await t.test('with everything of the container on the full disk', async (t) => {
    const host = await containerHost(t)
    const request = host.request(['sh', '-c', 'while [ -e /sandbox/held ]; do sleep 0.02; done; echo last words; exit 0'])
    const launch = await host.prepare(request)
    const held = join(request.sandboxDir, 'files/held')
    writeFileSync(held, '')
    await host.runtime.launch(launch, AbortSignal.timeout(20_000))
    const filler = join(disk, 'filler')
    t.throws(() => writeFileSync(filler, Buffer.alloc(16 * 1024 * 1024)), { code: 'ENOSPC' })
    rmSync(held)
    t.match(await host.runtime.wait(request.containerId, AbortSignal.timeout(20_000)), { kind: 'lost' })
    rmSync(filler)
    await host.remove(request)
  })
  if (before === undefined) delete process.env['TMPDIR']
  else process.env['TMPDIR'] = before
})
