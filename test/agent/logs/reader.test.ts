import { appendFile, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type LogChunk, type LogRequest, readLog } from '../../../agent/logs/reader.ts'

const at = (second: number): string => `2026-11-22T02:00:${String(second).padStart(2, '0')}.000000000+00:00`
const out = (text: string, second = 0): string => `${at(second)} stdout F ${text}\n`
const err = (text: string): string => `${at(0)} stderr F ${text}\n`
const piece = (text: string): string => `${at(0)} stdout P ${text}\n`

const over = AbortSignal.abort()
const never = new AbortController().signal

async function all(request: LogRequest, ended = over): Promise<string> {
  const parts: string[] = []
  for await (const { data } of readLog(request, ended, never)) parts.push(Buffer.from(data).toString('latin1'))
  return parts.join('')
}

/** Reads on until the text ends with `end`. */
async function until(chunks: AsyncGenerator<LogChunk>, end: string): Promise<string> {
  let text = ''
  while (!text.endsWith(end)) {
    const next = await chunks.next()
    if (next.done === true) throw new Error(`ended at ${JSON.stringify(text)}`)
    text += Buffer.from(next.value.data).toString('latin1')
  }
  return text
}

const logIn = (t: Test, files: Record<string, string>): string => join(t.testdir(files), 'log')

t.test('rotated files are read oldest first, pieces joined across them', async (t) => {
  const path = logIn(t, { 'log.2': out('a') + piece('b'), 'log.1': piece('c'), log: out('d') + err('e') + piece('f') })
  t.equal(await all({ path, follow: false }), 'a\nbcd\ne\nf')
  t.equal(await all({ path, follow: true }), 'a\nbcd\ne\nf')
})

t.test('one stream, and only what was written since', async (t) => {
  const path = logIn(t, { 'log.1': out('a', 1) + err('x'), log: out('b', 2) + out('c', 3) })
  t.equal(await all({ path, follow: false, stream: 'stderr' }), 'x\n')
  t.equal(await all({ path, follow: false, sinceMs: Date.UTC(2026, 10, 22, 2, 0, 2) }), 'b\nc\n')
})

t.test('nothing later than asked for', async (t) => {
  const path = logIn(t, { 'log.1': out('a', 1), log: out('b', 2) + out('c', 3) + err('d') })
  t.equal(await all({ path, follow: false, untilMs: Date.UTC(2026, 10, 22, 2, 0, 2) }), 'a\nb\n')
  t.equal(await all({ path, follow: true, untilMs: Date.UTC(2026, 10, 22, 2, 0, 2) }, never), 'a\nb\n', 'a follower ends there')
})

/** What stands where: text, and the causes of gaps in brackets. */
async function shown(request: LogRequest, ended = over): Promise<string> {
  const parts: string[] = []
  for await (const { data, gaps } of readLog(request, ended, never))
    parts.push(...gaps.map(({ cause }) => `[${cause}]`), Buffer.from(data).toString('latin1'))
  return parts.join('')
}

t.test('what a full disk cut off is told where it stood', async (t) => {
  const first = out('x'.repeat(700))
  const path = logIn(t, { log: first.slice(0, 512) + out('b', 2) + out('c', 3) })
  const kept = 'x'.repeat(512 - out('').length + 1)
  t.equal(await shown({ path, follow: false }), `${kept}[disk_full]b\nc\n`)
  t.equal(await shown({ path, follow: false, tailLines: 1 }), 'c\n')
  const head = logIn(t, { log: (out('a'.repeat(512 - 2 * out('').length + 10)) + out('lost')).slice(0, 512) + out('b', 2) })
  t.match(await shown({ path: head, follow: false }), /^a+\n\[disk_full\]b\n$/, 'in the head of a record')
  const end = logIn(t, { log: out('a') + out('lost').slice(0, 9) })
  t.equal(await shown({ path: end, follow: false }), 'a\n[disk_full]', 'at the end of a log that has ended')
  t.equal(await shown({ path: end, follow: false }, never), 'a\n', 'what is on its way is not lost')
})

t.test('a program that prints what a record looks like has lost nothing', async (t) => {
  const path = logIn(t, { log: out(out('within').trimEnd()) + out('b', 2) })
  t.equal(await shown({ path, follow: false }), `${out('within')}b\n`)
})

t.test('a gap that is noted beside the log is told in its place, once', async (t) => {
  const ms = (second: number): number => Date.UTC(2026, 10, 22, 2, 0, second)
  const bound = JSON.stringify({ cause: 'unattended_bound', fromMs: ms(1), toMs: ms(2) })
  const seen = JSON.stringify({ cause: 'disk_full', fromMs: ms(1), toMs: ms(2), torn: true })
  const open = JSON.stringify({ cause: 'disk_full', fromMs: ms(3), toMs: 0 })
  const noise = 'noise\n{"cause":"disk_full"}\n{"cause":"other","fromMs":1,"toMs":2}\n'
  const files = { 'log.1': out('a', 1), log: out('b', 2) + out('c', 3), 'log.gaps': `${noise}${bound}\n${seen}\n${open}\n` }
  const path = logIn(t, files)
  t.equal(await shown({ path, follow: false }), 'a\n[unattended_bound]b\nc\n[disk_full]')
  t.equal(await shown({ path, follow: true }), 'a\n[unattended_bound]b\nc\n[disk_full]')
  t.equal(await shown({ path, follow: false, sinceMs: ms(3) }), 'c\n[disk_full]')
})

t.test('a gap that a crash left among the names is no end', async (t) => {
  const path = logIn(t, { 'log.3': out('a'), 'log.1': out('b'), 'log.held': out('c') })
  t.equal(await all({ path, follow: false }), 'a\nb\nc\n')
})

t.test('the last lines are found across files', async (t) => {
  const path = logIn(t, {
    'log.2': out('1') + out('2') + err('x'),
    'log.1': out('3') + piece('4'),
    log: out('4') + out('5') + piece('6')
  })
  const tails = ['', '6', '5\n6', '44\n5\n6', '3\n44\n5\n6', 'x\n3\n44\n5\n6', '2\nx\n3\n44\n5\n6', '1\n2\nx\n3\n44\n5\n6']
  for (const [lines, wanted] of tails.entries())
    t.equal(await all({ path, follow: false, tailLines: lines }), wanted, `${lines} lines`)
  t.equal(await all({ path, follow: false, tailLines: 99 }), tails.at(-1))
  t.equal(await all({ path, follow: false, tailLines: 1, stream: 'stderr' }), 'x\n')
})

t.test('the last lines of a long log are found from its end', async (t) => {
  const path = logIn(t, {})
  const lines = Array.from({ length: 20_000 }, (_, n) => `line ${n} ${'x'.repeat(n % 97)}`)
  await writeFile(path, lines.map((line) => out(line)).join(''))
  for (const count of [1, 10, 999, 12_345]) {
    const wanted = `${lines.slice(-count).join('\n')}\n`
    t.ok((await all({ path, follow: false, tailLines: count })) === wanted, `${count} lines`)
  }
})

t.test('a follower sees what is written, through rotations, to the end', { timeout: 30_000 }, async (t) => {
  const path = logIn(t, { log: out('1') })
  const ended = new AbortController()
  const chunks = readLog({ path, follow: true }, ended.signal, never)
  t.equal(await until(chunks, '1\n'), '1\n')
  const waiting = until(chunks, '5\n')
  await appendFile(path, out('2') + out('3').slice(0, 20))
  await appendFile(path, out('3').slice(20))
  await rename(path, `${path}.1`)
  await appendFile(`${path}.1`, out('4'))
  await writeFile(path, out('5'))
  t.equal(await waiting, '2\n3\n4\n5\n')
  const rest = until(chunks, 'end\n')
  await rename(`${path}.1`, `${path}.2`)
  await rename(path, `${path}.1`)
  await writeFile(path, '')
  await rename(`${path}.2`, `${path}.3`)
  await rename(`${path}.1`, `${path}.2`)
  await rename(path, `${path}.1`)
  await writeFile(path, out('end'))
  t.equal(await rest, 'end\n')
  ended.abort()
  t.equal((await chunks.next()).done, true)
})

t.test('a follower that begins with a tail goes on without doubling', { timeout: 30_000 }, async (t) => {
  const path = logIn(t, { 'log.1': out('old'), log: out('1') + out('2') })
  const chunks = readLog({ path, follow: true, tailLines: 1 }, never, never)
  t.equal(await until(chunks, '2\n'), '2\n')
  // The writer puts a new file in the place of the log by itself: the older file is not read again.
  await writeFile(`${path}.tmp`, out('3'))
  const next = until(chunks, '3\n')
  await rename(`${path}.tmp`, path)
  t.equal(await next, '3\n')
  await chunks.return(undefined)
})

t.test('a reader that was overtaken is told that something is missing', { timeout: 30_000 }, async (t) => {
  const path = logIn(t, { log: out('1') })
  const chunks = readLog({ path, follow: true }, never, never)
  t.equal(await until(chunks, '1\n'), '1\n')
  await rm(path)
  await writeFile(`${path}.1`, out('8'))
  await writeFile(path, out('9'))
  const next = await chunks.next()
  t.match(next.value, { gaps: [{ cause: 'rotated_away' }] })
  t.equal(await until(chunks, '9\n'), '9\n')
  await chunks.return(undefined)
})

t.test('a log that is not there yet is waited for, one that can never be is not found', { timeout: 30_000 }, async (t) => {
  const path = logIn(t, {})
  const chunks = readLog({ path, follow: true }, never, never)
  const first = until(chunks, 'now\n')
  await writeFile(path, out('now'))
  t.equal(await first, 'now\n')
  await chunks.return(undefined)
  t.equal(await all({ path: join(path, '..', 'other'), follow: false }), '')
  await t.rejects(all({ path: '/nowhere/at/all/log', follow: false }), { code: 'not-found' })
})

t.test('an aborted reader ends with the reason', { timeout: 30_000 }, async (t) => {
  const path = logIn(t, { log: out('1') })
  const stop = new AbortController()
  const chunks = readLog({ path, follow: true }, never, stop.signal)
  await chunks.next()
  const waiting = chunks.next()
  stop.abort(new Error('enough'))
  await t.rejects(waiting, { message: 'enough' })
})

t.test('without follow the end is what was there at the start', async (t) => {
  const path = logIn(t, { log: out('1') })
  const chunks = readLog({ path, follow: false }, never, never)
  t.equal(await until(chunks, '1\n'), '1\n')
  await appendFile(path, out('2'))
  t.equal((await chunks.next()).done, true)
})

t.test('the sandbox may go while a follower waits', { timeout: 30_000 }, async (t) => {
  const directory = join(t.testdir(), 'sandbox')
  await mkdir(directory)
  const path = join(directory, 'log')
  await writeFile(path, out('1'))
  const ended = new AbortController()
  const chunks = readLog({ path, follow: true }, ended.signal, never)
  await chunks.next()
  const waiting = chunks.next()
  await rm(directory, { recursive: true })
  ended.abort()
  t.equal((await waiting).done, true)
})
