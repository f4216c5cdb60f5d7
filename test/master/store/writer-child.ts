// Appends numbered entries for ever and tells on stdout which are acknowledged. Run by the kill test, which ends it at any point.
import { silentLog } from '../../../base/log.ts'
import { seededRandom } from '../../../base/random.ts'
import { systemDisk } from '../../../master/store/disk.ts'
import { Wal } from '../../../master/store/wal.ts'
import { entry, identity } from './wal-fixture.ts'

const [directory = '', seed = '0'] = process.argv.slice(2)
const random = seededRandom(Number(seed))
const wal = new Wal({ disk: systemDisk, log: silentLog }, { directory, ...identity, segmentBytes: 16 * 1024, keepAfter: 0 })
await wal.open()
process.stdout.write(`open ${wal.lastIndex}\n`)
for (let term = 1; ; term += 1) {
  const burst: Promise<void>[] = []
  for (let n = random.between(1, 30); n > 0; n -= 1) {
    const index = wal.lastIndex + 1
    burst.push(wal.append([entry(index, 1, random.between(0, 400))]).then(() => void process.stdout.write(`ack ${index}\n`)))
  }
  burst.push(
    wal.saveHardState({ term, votedFor: 'me', commit: wal.lastIndex }).then(() => void process.stdout.write(`term ${term}\n`))
  )
  await Promise.all(burst)
}
