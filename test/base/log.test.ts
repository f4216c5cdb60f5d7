import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LineSink } from '../../base/log.ts'

const lost = (lines: number): string => `${lines} lost\n`

t.test('a full disk takes no line and ends nobody', async (t) => {
  const fd = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(fd))
  const sink = new LineSink(fd, lost)
  t.doesNotThrow(() => sink.write('a line\n'))
  t.doesNotThrow(() => sink.write('another\n'))
})

t.test('lines that found no room come later in their order, and what was too much is counted', async (t) => {
  const path = join(t.testdir(), 'fifo')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  t.teardown(() => closeSync(fd))
  const sink = new LineSink(fd, lost)
  const wide = 'x'.repeat(1_000)
  for (let n = 0; n < 1_000; n += 1) sink.write(`${n} ${wide}\n`)
  const taken = drain(fd)
  sink.write('after\n')
  const lines = `${taken}${drain(fd)}`.trim().split('\n')
  t.match(lines.at(-1), /^after$/)
  const [, missing] = /^(\d+) lost$/.exec(lines.at(-2) ?? '') ?? []
  t.same(
    lines.slice(0, -2).map((line) => Number(line.split(' ')[0])),
    Array.from({ length: 1_000 - Number(missing) }, (_, n) => n)
  )
  t.ok(lines.length > 100, 'the pipe and the lines that were kept back')
})

function drain(fd: number): string {
  const parts: string[] = []
  const bytes = Buffer.alloc(65_536)
  try {
    for (;;) parts.push(bytes.toString('utf8', 0, readSync(fd, bytes)))
  } catch {
    return parts.join('') // it is empty
  }
}
