import { createReadStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { runUnpackChild } from '../../../agent/images/unpack-child.ts'
import { silentLog } from '../../../base/log.ts'
import { until } from '../../support/until.ts'
import { never, run, scratch } from './fixtures.ts'

t.test('what a child says is heard, though it ends before it is noted whose it is', async (t) => {
  const draft = await scratch(t)
  const [owner, program, go] = [join(draft, 'owner.json'), join(draft, 'child'), join(draft, 'go')]
  await run('mkfifo', [owner])
  const words = `until test -e ${go}; do sleep 0.01; done; echo '{"type":"done","result":{"entries":7}}'`
  writeFileSync(program, `#!/bin/sh\necho $$ > ${draft}/pid\n${words}\n`)
  await chmod(program, 0o755)
  const request = { task: 'shift', draft, layer: draft, first: 0, count: 1 } as const
  const source = { archive: (async function* () {})(), onProgress: () => undefined }
  const result = runUnpackChild([program], request, source, silentLog, never)
  const said = join(draft, 'pid')
  await until(() => waitsForAReader() && existsSync(said) && readFileSync(said, 'utf8').endsWith('\n'))
  const pid = readFileSync(said, 'utf8').trim()
  writeFileSync(go, '')
  await until(() => !existsSync(`/proc/${pid}`))
  const noted: Buffer[] = []
  for await (const chunk of createReadStream(owner)) noted.push(chunk as Buffer)
  t.match(Buffer.concat(noted).toString(), new RegExp(`^\\{"pid":${pid},"startTicks":\\d+\\}$`))
  t.same(await result, { entries: 7 })
})

/** One of our own threads, in a fifo that it wants to write into (fs/pipe.c). */
const waitsForAReader = (): boolean =>
  readdirSync('/proc/self/task').some((id) => readFileSync(`/proc/self/task/${id}/wchan`, 'utf8') === 'wait_for_partner')
