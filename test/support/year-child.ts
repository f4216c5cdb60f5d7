// A master and the certificate of an agent over 400 days, 25 at a time. Run by a test under faketime, whose clock file is the argument.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readCredentials, writeCredentials } from '../../identity/credentials.ts'
import { renewFromMs } from '../../identity/lifetime.ts'
import { placeText } from '../../identity/places.ts'
import { certified, channel, placeOf } from './certified.ts'
import { eventually } from './cluster.ts'
import { eagerRenewal } from './eager-renewal.ts'
import { startTestMaster } from './test-master.ts'

const [clockFile = ''] = process.argv.slice(2)
const master = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0, lookEveryMs: 20 })
const stateDir = mkdtempSync(join(tmpdir(), 'hearth-year-'))
await writeCredentials(stateDir, await certified(master))
const masters = [`tls:${placeText(placeOf(master))}`]
const renewal = eagerRenewal(stateDir, masters)
await renewal.start()
const serials = { agent: new Set<string>(), master: new Set<string>() }
for (let day = 0; day <= 400; day += 25) {
  writeFileSync(clockFile, `+${day}d\n`)
  for (const [who, directory] of [
    ['agent', stateDir],
    ['master', master.dir]
  ] as const) {
    await eventually(async () => {
      const own = await readCredentials(directory)
      if (own === undefined || Date.now() >= renewFromMs(own)) return undefined
      serials[who].add(own.serial)
      return true
    })
  }
  const own = await readCredentials(stateDir)
  if (own === undefined) throw new Error('the certificate is gone')
  const socket = await channel(master, own)
  socket.destroy()
  process.stdout.write(`${day} ${serials.agent.size} ${serials.master.size}\n`)
}
await renewal.stop()
await master.stop()
rmSync(stateDir, { recursive: true, force: true })
