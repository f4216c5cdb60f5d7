import fc from 'fast-check'
import t from 'tap'
import { type LogEntry, LogParser, maxLogLineBytes } from '../../../agent/logs/entry.ts'

const time = '2026-11-22T02:03:16.153382205+00:00'
const shown = ({ stream, partial, data }: LogEntry): string =>
  `${stream} ${partial ? 'P' : 'F'} ${Buffer.from(data).toString('latin1')}`

// Written by conmon 2.1.6 for: printf 'one\ntwo'; printf err >&2; printf '\n\nthree\n'; printf 'a\0b\377\r\n'; printf last
const golden = Buffer.from(
  `${time} stdout F one\n${time} stdout F two\n${time} stdout F \n${time} stdout F three\n${time} stderr P err\n` +
    `${time} stdout F a\0b\xff\r\n${time} stdout P last\n`,
  'latin1'
)

t.test('what conmon writes comes back as the program wrote it', async (t) => {
  const entries = new LogParser().push(golden)
  t.same(entries.map(shown), [
    'stdout F one\n',
    'stdout F two\n',
    'stdout F \n',
    'stdout F three\n',
    'stderr P err',
    'stdout F a\0b\xff\r\n',
    'stdout P last'
  ])
  t.equal(entries[0]?.atMs, Date.UTC(2026, 10, 22, 2, 3, 16, 153))
})

t.test('a record that a full disk cut short takes no later one with it', async (t) => {
  for (let cut = 1; cut < `${time} stdout F `.length; cut += 1) {
    const parser = new LogParser()
    const torn = `${time} stdout F lost`.slice(0, cut)
    t.same(parser.push(Buffer.from(`${torn}${time} stderr F kept\n${time} stdout F more\n`)).map(shown), [
      'stderr F kept\n',
      'stdout F more\n'
    ])
    t.equal(parser.damagedLines, 1)
  }
})

t.test('any output, cut into any pieces, comes back byte for byte', async (t) => {
  const piece = fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    partial: fc.boolean(),
    text: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x0a)))
  })
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
      (pieces, cuts) => {
        const log = Buffer.concat(
          pieces.flatMap((p) => [Buffer.from(`${time} ${p.stream} ${p.partial ? 'P' : 'F'} `), p.text, Buffer.from('\n')])
        )
        const parser = new LogParser()
        const seen: string[] = []
        for (let at = 0, i = 0; at < log.length; i += 1) {
          const bytes = cuts[i % cuts.length] ?? 1
          seen.push(...parser.push(log.subarray(at, at + bytes)).map(shown))
          at += bytes
        }
        const wanted = pieces.map(
          (p) => `${p.stream} ${p.partial ? 'P' : 'F'} ${p.text.toString('latin1')}${p.partial ? '' : '\n'}`
        )
        return JSON.stringify(seen) === JSON.stringify(wanted) && parser.damagedLines === 0
      }
    )
  )
  t.pass('held')
})

t.test('what is no record is left out and counted', async (t) => {
  const parser = new LogParser()
  const lines = [
    '',
    'noise',
    `${time} stdout X a`,
    `${time} stdin F a`,
    'never stdout F a',
    `${time} stdoutF a`,
    `${time} stdout F`
  ]
  t.same(parser.push(Buffer.from(`${lines.join('\n')}\n${time} stderr F good\n`)).map(shown), ['stderr F good\n'])
  t.equal(parser.damagedLines, lines.length)
})

t.test('half a record at the end of a file does not spoil the next file', async (t) => {
  const parser = new LogParser()
  t.same(parser.push(Buffer.from(`${time} stdout F ha`)), [])
  parser.endFile()
  t.same(parser.push(Buffer.from(`${time} stdout F new\n`)).map(shown), ['stdout F new\n'])
  t.equal(parser.damagedLines, 1)
})

t.test('a line without end is not held in memory', async (t) => {
  const parser = new LogParser()
  for (let i = 0; i < 10; i += 1) t.same(parser.push(Buffer.alloc(maxLogLineBytes / 2, 'x')), [])
  t.same(parser.push(Buffer.from(`\n${time} stdout F on\n`)).map(shown), ['stdout F on\n'])
  t.equal(parser.damagedLines, 1)
})
