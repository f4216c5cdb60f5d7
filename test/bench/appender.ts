import { fdatasync, mkdirSync, openSync, write } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { silentLog } from '../../base/log.ts'
import { recordHeadBytes } from '../../base/record-chain.ts'
import { systemDisk } from '../../master/store/disk.ts'
import { createZeroed, encodeLogRecord } from '../../master/store/segment.ts'
import { Wal } from '../../master/store/wal.ts'
import { encodeMessage, type Init } from '../../proto/codec.ts'
import type { LogEntry, TaskRow } from '../../proto/gen/messages.ts'
import type { AppenderKind, Order } from './appender-kinds.ts'

/**
 * A process of its own that appends when it is told to, and does nothing else: the ledger of an agent, the log of a master, or
 * the two system calls alone on a file of the same shape.
 */

/** One record onto the disk. */
type Append = () => Promise<void>

const segmentBytes = 16 * 1024 * 1024
const identity = { clusterId: 'c'.repeat(32), nodeId: 'd'.repeat(32) }

/** A task as `hearth task run` makes them: some 400 bytes. */
const row: Init<TaskRow> = {
  attempt: 1,
  containerId: 'a'.repeat(32),
  specDigest: 'b'.repeat(64),
  atMs: 1_700_000_000_000,
  bootId: 'e'.repeat(36),
  group: {
    frameworkId: 'hearth-tasks',
    role: '*',
    tasks: [
      {
        taskId: 'f'.repeat(32),
        name: 'measured',
        image: 'registry.example/shop/web:1.4.2',
        process: { arguments: ['/usr/bin/serve', '--port', '8080', '--root', '/srv/www'] },
        resources: [
          { name: 'cpus', kind: 'scalar', scalar: 500 },
          { name: 'mem', kind: 'scalar', scalar: 256 * 1024 * 1024 }
        ]
      }
    ]
  }
}

const body = encodeMessage('LedgerRecord', { sequence: 1_000, task: row })
const entryOf = (index: number): LogEntry => ({ term: 1, index, data: body, type: 0 })

const openers: Readonly<Record<AppenderKind, (directory: string) => Promise<Append>>> = {
  ledger: async (directory) => {
    const ledger = await openLedger({ log: silentLog }, { directory })
    return () => ledger.append({ task: row }, 'disk')
  },
  'file that grows': async (directory) =>
    writeAndSync(openSync(join(directory, 'file'), 'w', 0o600), Buffer.alloc(recordHeadBytes + body.length, 7)),
  log: async (directory) => {
    const wal = new Wal({ disk: systemDisk, log: silentLog }, { directory, ...identity, segmentBytes, keepAfter: 0 })
    await wal.open()
    return () => wal.append([entryOf(wal.lastIndex + 1)])
  },
  'file of zeros': async (directory) => {
    const path = join(directory, 'file')
    await (await createZeroed(systemDisk, path, segmentBytes)).close()
    const record = encodeLogRecord({ entry: entryOf(1_000), acknowledgedIndex: 999 }, 0).bytes
    return writeAndSync(openSync(path, 'r+'), record)
  }
}

/** The two system calls, with nothing between them but Node. */
function writeAndSync(file: number, bytes: Buffer): Append {
  const written = promisify(write) as (fd: number, from: Buffer, offset: number, length: number, at: number) => Promise<unknown>
  const synced = promisify(fdatasync)
  let at = 0
  return async () => {
    const position = at
    at += bytes.length
    await written(file, bytes, 0, bytes.length, position)
    await synced(file)
  }
}

/** Milliseconds that each round took. */
async function carryOut(append: Append, { appends, atOnce }: Order): Promise<readonly number[]> {
  const samples: number[] = []
  for (let n = 0; n < appends; n += 1) {
    const sinceMs = performance.now()
    if (atOnce === 1) await append()
    else await Promise.all(Array.from({ length: atOnce }, append))
    samples.push(performance.now() - sinceMs)
  }
  return samples
}

const [, , kind = '', directory = ''] = process.argv
mkdirSync(directory, { recursive: true })
const append = await openers[kind as AppenderKind](directory)
process.on('message', (order: Order) => {
  void carryOut(append, order).then((samples) => process.send?.(samples))
})
process.on('disconnect', () => process.exit(0))
process.send?.([])
