import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
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
      let files = new RotatedFiles(small(writer), systemClock)
      let reopened = true
      for (const what of steps) {
        if (what === 'write') await writer.write()
        if (what === 'restart') files = new RotatedFiles(small(writer), systemClock)
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

t.test('the oldest file goes when there are as many as asked for', async (t) => {
  const directory = t.testdir()
  const writer = new Writer(directory)
  await writer.begin()
  const files = new RotatedFiles(small(writer, 3), systemClock)
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
      await rename(path, `${path}.held`)
      await writeFile(path, line(3))
      await link(path, `${path}.next`)
    },
    'the old one is put away and the new one not yet held': async (path) => {
      await rename(`${path}.1`, `${path}.2`)
      await rename(path, `${path}.1`)
      await writeFile(path, line(3))
      await link(path, `${path}.next`)
    },
    'the files are half moved up': async (path) => {
      await rename(`${path}.1`, `${path}.2`)
      await rename(path, `${path}.held`)
      await writeFile(path, line(3))
    },
    'there are leftovers of the next file': async (path) => {
      await writeFile(`${path}.next`, '')
      await writeFile(`${path}.tmp`, '')
    }
  }
  for (const [name, make] of Object.entries(half)) {
    const path = join(t.testdir({ 'log.1': line(1), log: line(2), ctl: '' }), 'log')
    await make(path)
    const wanted = await linesOf(path)
    const files = new RotatedFiles({ path, controlPath: join(path, '..', 'ctl'), fileBytes: 10_000, files: 9 }, systemClock)
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
