import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { readLog } from '../../../agent/logs/reader.ts'
import { RotatedFiles } from '../../../agent/logs/rotated-files.ts'
import { systemClock } from '../../../base/clock.ts'

/** Writes and reopens as conmon does: a new file under `log.tmp`, truncated, then renamed to `log`. */
class Writer {
  readonly path: string
  readonly controlPath: string
  #file: FileHandle | undefined
  written = 0

  constructor(directory: string) {
    this.path = join(directory, 'log')
    this.controlPath = join(directory, 'ctl')
  }

  async begin(): Promise<void> {
    await writeFile(this.controlPath, '')
    this.#file = await open(this.path, 'a')
  }

  async write(): Promise<void> {
    this.written += 1
    await this.#file?.write(`2026-11-22T02:00:00.000000000+00:00 stdout F ${this.written}\n`)
  }

  async reopen(): Promise<void> {
    await this.#file?.close()
    this.#file = await open(`${this.path}.tmp`, 'w')
    await rename(`${this.path}.tmp`, this.path)
  }

  /** Follows the requests that were made meanwhile; true where there were any. */
  async obey(): Promise<boolean> {
    const asked = await readFile(this.controlPath, 'latin1')
    await writeFile(this.controlPath, '')
    if (asked === '') return false
    if (!/^(2 0 0\n)+$/.test(asked)) throw new Error(`unknown request ${JSON.stringify(asked)}`)
    await this.reopen()
    return true
  }

  async end(): Promise<void> {
    await this.#file?.close()
  }
}

async function linesOf(path: string): Promise<number[]> {
  const parts: Uint8Array[] = []
  const never = new AbortController().signal
  for await (const { data } of readLog({ path, follow: false }, never, never)) parts.push(data)
  return Buffer.concat(parts).toString().split('\n').slice(0, -1).map(Number)
}

const noGap = (gap: object): void => {
  throw new Error(`a gap where none is: ${JSON.stringify(gap)}`)
}

const upTo = (n: number, from = 1): number[] => Array.from({ length: n - from + 1 }, (_, i) => from + i)
const small = (writer: Writer, files = 50) => ({ path: writer.path, controlPath: writer.controlPath, fileBytes: 150, files })

t.test('whatever the writer, the agent and its restarts do, nothing is lost or doubled', async (t) => {
  const root = t.testdir()
  let n = 0
  const step = fc.constantFrom('write', 'write', 'write', 'settle', 'restart', 'reopen')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      n += 1
      const directory = join(root, String(n))
      await mkdir(directory)
      const writer = new Writer(directory)
      await writer.begin()
      let files = new RotatedFiles(small(writer), systemClock, noGap)
      let reopened = true
      for (const what of steps) {
        if (what === 'write') await writer.write()
        if (what === 'restart') files = new RotatedFiles(small(writer), systemClock, noGap)
        if (what === 'restart' || what === 'settle') {
          await files.settle()
          reopened = await writer.obey()
        }
        // The agent looks more often than the writer passes its limit.
        if (what === 'reopen' && !reopened) {
          await writer.reopen()
          reopened = true
        }
      }
      const before = await linesOf(writer.path)
      await writer.end()
      await files.finish()
      const after = await linesOf(writer.path)
      const wanted = JSON.stringify(upTo(writer.written))
      return JSON.stringify(before) === wanted && JSON.stringify(after) === wanted
    }),
    { numRuns: 150 }
  )
  t.pass('held')
})

/** A writer in a thread of its own, so that it opens and renames between any two steps of the agent's. */
const besides = `
  const fs = require('node:fs')
  const { path, controlPath, lines } = require('node:worker_threads').workerData
  const { O_RDWR, O_NONBLOCK } = fs.constants
  const control = fs.openSync(controlPath, O_RDWR | O_NONBLOCK)
  let file = fs.openSync(path, 'a')
  const request = Buffer.alloc(6)
  for (let n = 1; n <= lines; n += 1) {
    fs.writeSync(file, '2026-11-22T02:00:00.000000000+00:00 stdout F ' + n + '\\n')
    try { fs.readSync(control, request, 0, 6, null) } catch { continue }
    fs.closeSync(file)
    file = fs.openSync(path + '.tmp', 'w')
    fs.renameSync(path + '.tmp', path)
  }`

t.test('a writer that takes its next file between two looks of the agent loses nothing', async (t) => {
  const directory = t.testdir()
  const [path, controlPath, lines] = [join(directory, 'log'), join(directory, 'ctl'), 120_000]
  execFileSync('mkfifo', [controlPath])
  const files = new RotatedFiles({ path, controlPath, fileBytes: 2_000, files: 100 }, systemClock, noGap)
  const writer = new Worker(besides, { eval: true, workerData: { path, controlPath, lines } })
  const ended = once(writer, 'exit').then(() => true)
  while ((await Promise.race([ended, setImmediate()])) !== true) for (let i = 0; i < 200; i += 1) files.settle()
  files.finish()
  const kept = await linesOf(path)
  t.ok((await readdir(directory)).length > 50, 'it was rotated often')
  t.equal(kept.at(-1), lines)
  t.equal(kept.length, lines - (kept[0] ?? 0) + 1, 'without a gap')
})

t.test('the oldest file goes when there are as many as asked for', async (t) => {
  const directory = t.testdir()
  const writer = new Writer(directory)
  await writer.begin()
  const files = new RotatedFiles(small(writer, 3), systemClock, noGap)
  for (let i = 0; i < 60; i += 1) {
    await writer.write()
    await files.settle()
    await writer.obey()
  }
  await writer.end()
  await files.finish()
  t.same((await readdir(directory)).sort(), ['ctl', 'log', 'log.1', 'log.2'])
  const lines = await linesOf(writer.path)
  t.ok(lines.length >= 4 && lines.length < 15, `${lines.length} lines are kept`)
  t.same(lines, upTo(60, lines[0]))
})

t.test('a crash between any two steps is mended', async (t) => {
  const line = (n: number): string => `2026-11-22T02:00:00.000000000+00:00 stdout F ${n}\n`
  const half: Readonly<Record<string, (path: string) => Promise<void>>> = {
    'the next file has its first name only': (path) => writeFile(`${path}.next`, ''),
    'the next file is in use and the old one still held': async (path) => {
      await writeFile(`${path}.next`, line(3))
      await rename(path, `${path}.held`)
      await link(`${path}.next`, path)
    },
    'the old one is put away and the new one not yet held': async (path) => {
      await writeFile(`${path}.next`, line(3))
      await rename(`${path}.1`, `${path}.2`)
      await rename(path, `${path}.1`)
      await link(`${path}.next`, path)
    },
    'the files are half moved up': async (path) => {
      await writeFile(`${path}.new`, line(3))
      await rename(`${path}.1`, `${path}.2`)
      await rename(path, `${path}.held`)
      await rename(`${path}.new`, path)
    },
    'there are leftovers of the next file': async (path) => {
      await writeFile(`${path}.next`, '')
      await writeFile(`${path}.tmp`, '')
    }
  }
  for (const [name, make] of Object.entries(half)) {
    const path = join(t.testdir({ log: line(2), ctl: '' }), 'log')
    // As it is: a file is there before the one that it replaces gets its last name.
    await writeFile(`${path}.1`, line(1))
    await make(path)
    const wanted = await linesOf(path)
    const files = new RotatedFiles(
      { path, controlPath: join(path, '..', 'ctl'), fileBytes: 10_000, files: 9 },
      systemClock,
      noGap
    )
    await files.settle()
    t.same(await linesOf(path), wanted, name)
    await files.settle()
    await files.finish()
    t.same(await linesOf(path), wanted, name)
    t.same(
      (await readdir(join(path, '..'))).filter((file) => /held|next|tmp/.test(file)),
      [],
      name
    )
    await rm(path)
  }
})
