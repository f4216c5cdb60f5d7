import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isFault } from '../../../base/fault.ts'
import { type RecoveredLog, recoverLog } from '../../../master/store/recovery.ts'
import { segmentPath } from '../../../master/store/segment.ts'
import { appendEach, entry, identity, newDirectory, openWal, told } from './wal-fixture.ts'

const segmentBytes = 1024

/** Recovers from files that exist only in memory. */
function recover(files: ReadonlyMap<string, Buffer>): Promise<RecoveredLog | undefined> {
  const disk = {
    list: () => Promise.resolve([...files.keys()].map((path) => basename(path))),
    readAll: (path: string) => Promise.resolve(files.get(path) ?? Buffer.alloc(0))
  }
  return recoverLog(disk, '/log', identity, 0)
}

async function filesOf(directory: string, count: number): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (let number = 1; number <= count; number += 1) {
    files.set(segmentPath('/log', number), await readFile(segmentPath(directory, number)))
  }
  return files
}

/** Segments with 45 entries, hard states and a truncation, closed in order. */
async function cleanLog(t: Test): Promise<{ files: Map<string, Buffer>; whole: string }> {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory, { segmentBytes })
  await wal.saveHardState({ term: 1, votedFor: 'me', commit: 0 })
  await appendEach(wal, 1, 22)
  await wal.truncate(16)
  await wal.saveHardState({ term: 2, votedFor: 'you', commit: 15 })
  await appendEach(wal, 16, 45, 2)
  await wal.close()
  const files = await filesOf(directory, wal.segments.length)
  const recovered = await recover(files)
  t.equal(recovered?.lastIndex, 45)
  t.ok(files.size >= 3)
  return { files, whole: content(recovered) }
}

const content = (log: RecoveredLog | undefined): string =>
  JSON.stringify([told(log?.entries ?? []), log?.hardState, log?.firstIndex])

/** Undefined where the damage was told with the file's name; else what was recovered. */
async function outcome(files: ReadonlyMap<string, Buffer>, path: string): Promise<string | undefined> {
  try {
    return content(await recover(files))
  } catch (e) {
    if (isFault(e, 'corrupt') && typeof e.detail['path'] === 'string' && typeof e.detail['offset'] === 'number') return undefined
    throw new Error(`damage in ${path} ended in another failure`, { cause: e })
  }
}

function damaged(files: ReadonlyMap<string, Buffer>, path: string, change: (bytes: Buffer) => Buffer): Map<string, Buffer> {
  return new Map(files).set(path, change(Buffer.from(files.get(path) ?? [])))
}

const usedOf = (bytes: Buffer): number => bytes.toString('latin1').replace(/\0+$/, '').length

t.test('a flip of any bit of any byte of a log that was closed is found, or harms no entry', async (t) => {
  const { files, whole } = await cleanLog(t)
  let found = 0
  let harmless = 0
  for (const [path, bytes] of files) {
    for (let at = 0; at < bytes.length; at += 1) {
      const seen = await outcome(
        damaged(files, path, (copy) => {
          copy.writeUInt8(copy.readUInt8(at) ^ (1 << (at % 8)), at)
          return copy
        }),
        path
      )
      if (seen === undefined) found += 1
      else if (seen === whole) harmless += 1
      else t.fail(`byte ${at} of ${path} changed the log unseen`)
    }
  }
  const used = [...files.values()].reduce((sum, bytes) => sum + usedOf(bytes), 0)
  t.ok(found > used - 100, `${found} found of ${used} bytes in use`)
  t.ok(harmless > 0)
})

t.test('a segment file that was cut at any byte is found', async (t) => {
  const { files } = await cleanLog(t)
  for (const [path, bytes] of files) {
    for (let size = 0; size < bytes.length; size += 7) {
      const seen = await outcome(
        damaged(files, path, (copy) => copy.subarray(0, size)),
        path
      )
      if (seen !== undefined) t.fail(`${path} cut to ${size} bytes went unseen`)
    }
  }
  t.pass('all found')
})

t.test('zeros over any stretch before the last record are found, or harm no entry', async (t) => {
  const { files, whole } = await cleanLog(t)
  const names = [...files.keys()]
  await fc.assert(
    fc.asyncProperty(
      fc.nat(names.length - 1),
      fc.nat(segmentBytes),
      fc.integer({ min: 1, max: 1500 }),
      async (which, from, length) => {
        const path = names[which] ?? ''
        const isLast = which === names.length - 1
        const end = isLast ? usedOf(files.get(path) ?? Buffer.alloc(0)) - 64 : segmentBytes
        const seen = await outcome(
          damaged(files, path, (copy) => copy.fill(0, Math.min(from, end), Math.min(from + length, end))),
          path
        )
        return seen === undefined || seen === whole
      }
    ),
    { numRuns: 300 }
  )
})

t.test('a record that is lost, repeated or misplaced breaks the chain', async (t) => {
  const { files, whole } = await cleanLog(t)
  const path = segmentPath('/log', 1)
  const bytes = files.get(path) ?? Buffer.alloc(0)
  const heads: number[] = []
  for (let at = bytes.indexOf('HKR1'); at >= 0; at = bytes.indexOf('HKR1', at + 1)) heads.push(at)
  t.ok(heads.length > 10)
  for (let i = 1; i + 2 < heads.length; i += 1) {
    const [a = 0, b = 0, c = 0] = heads.slice(i, i + 3)
    const record = bytes.subarray(a, b)
    const next = bytes.subarray(b, c)
    const variants = {
      lost: Buffer.concat([bytes.subarray(0, a), bytes.subarray(b), Buffer.alloc(record.length)]),
      repeated: Buffer.concat([bytes.subarray(0, b), record, bytes.subarray(b)]).subarray(0, segmentBytes),
      misplaced: Buffer.concat([bytes.subarray(0, a), next, record, bytes.subarray(c)])
    }
    for (const [kind, image] of Object.entries(variants)) {
      const seen = await outcome(new Map(files).set(path, image), path)
      if (seen !== undefined && seen !== whole) t.fail(`record ${i} ${kind} went unseen`)
      if (seen !== undefined) t.fail(`record ${i} ${kind} was accepted`)
    }
  }
})

t.test('after a write that stopped at any byte every acknowledged entry is there, and only whole ones besides', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory, { segmentBytes: 64 * 1024 })
  await appendEach(wal, 1, 10)
  const before = await readFile(segmentPath(directory, 1))
  await wal.append(Array.from({ length: 8 }, (_, i) => entry(11 + i, 1, 150)))
  const after = await readFile(segmentPath(directory, 1))
  await wal.close()
  const from = usedOf(before)
  const path = segmentPath('/log', 1)
  for (let cut = from; cut <= usedOf(after); cut += 1) {
    const image = Buffer.from(after).fill(0, cut)
    const recovered = await recover(new Map([[path, image]]))
    const last = recovered?.lastIndex ?? 0
    const expected = Array.from({ length: last }, (_, i) => entry(i + 1, 1, i < 10 ? 20 : 150))
    if (last < 10 || content(recovered) !== content({ ...(recovered as RecoveredLog), entries: expected })) {
      t.fail(`cut at ${cut}: entries up to ${last}`)
    }
  }
  t.pass('every cut was recovered')
})

t.test('random bytes as a segment never end in anything but a Fault', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 600 }), async (bytes) => {
      return (await outcome(new Map([[segmentPath('/log', 1), Buffer.from(bytes)]]), 'garbage')) === undefined
    })
  )
  t.pass()
})

t.test('a writer that is killed at any point has lost nothing that it acknowledged', async (t) => {
  const directory = await newDirectory(t)
  let acknowledged = 0
  let term = 0
  for (let round = 0; round < 3; round += 1) {
    const seen = await killedWriter(t, directory, round, 20 + round * 37)
    acknowledged = Math.max(acknowledged, seen.acknowledged)
    const { wal, recovered } = await openWal(directory, { segmentBytes: 16 * 1024 })
    t.ok(recovered.lastIndex >= acknowledged, `${recovered.lastIndex} of ${acknowledged} acknowledged`)
    t.ok(recovered.hardState.term >= seen.term)
    t.same(
      recovered.entries.map((e) => e.index),
      Array.from({ length: recovered.lastIndex }, (_, i) => i + 1)
    )
    const whole = recovered.entries.every((e) => told([entry(e.index, 1, e.data.length)])[0] === told([e])[0])
    t.ok(whole, 'every entry is what was written')
    term = Math.max(term, seen.term)
    await wal.close()
  }
  t.ok(acknowledged > 50 && term > 1)
})

/** Kills with SIGKILL as soon as so many lines were said: somewhere in the middle of the next writes. */
async function killedWriter(
  t: Test,
  directory: string,
  seed: number,
  lines: number
): Promise<{ acknowledged: number; term: number }> {
  const loader = process.execArgv.filter((argument) => argument.startsWith('--import'))
  const script = new URL('./writer-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [...loader, script, directory, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  let acknowledged = 0
  let term = 0
  let said = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, number] = line.split(' ')
    if (what === 'ack') acknowledged = Math.max(acknowledged, Number(number))
    if (what === 'term') term = Math.max(term, Number(number))
    said += 1
    if (said === lines) child.kill('SIGKILL')
  }
  await ended
  return { acknowledged, term }
}
