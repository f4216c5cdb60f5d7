import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runProgram, startCluster } from '../support/cluster.ts'

interface Task {
  readonly state: string
  readonly reason: string | null
}

t.test('a task finds its artifacts in its sandbox, and none that it may not have', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'hearth-artifacts-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  mkdirSync(join(home, 'given/site'), { recursive: true })
  writeFileSync(join(home, 'given/site/page'), 'hello\n')
  writeFileSync(join(home, 'given/tool'), '#!/bin/sh\necho tool\n')
  symlinkSync('/etc/shadow', join(home, 'given/link'))
  const packed = join(home, 'site.tar.gz')
  t.equal((await runProgram('tar', ['-C', join(home, 'given/site'), '-czf', packed, '.'])).code, 0)
  const asked: string[] = []
  const bytes = Buffer.from('over http\n')
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(bytes)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const settings = { HEARTH_ALLOW_MOUNT: home, HEARTH_INSECURE_REGISTRIES: `127.0.0.1:${port}` }
  const before = Object.keys(settings).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, settings)
  const cluster = await startCluster(t)
  for (const [name, value] of before) if (value === undefined) delete process.env[name]

  const url = `http://127.0.0.1:${port}/word`
  const known = `${url},sha256=${createHash('sha256').update(bytes).digest('hex')},to=words/word`
  const artifacts = [
    '--artifact',
    known,
    '--artifact',
    `file:${packed},unpack`,
    '--artifact',
    `file:${home}/given/tool,executable`
  ]
  const body = 'cat words/word site/page; ./tool; stat -c %u words words/word site site/page tool | sort -u'
  const run = (...more: readonly string[]) => cluster.hearth(['task', 'run', '--rm', '-w', '/sandbox', ...more])
  const ran = await run('--user', '1000', ...artifacts, 'host', 'sh', '-c', body)
  t.match(ran, { code: 0, stdout: 'over http\nhello\ntool\n1000\n' }, ran.stderr)
  t.match(await run('--artifact', known, 'host', 'cat', 'words/word'), { code: 0, stdout: 'over http\n' })
  t.same(asked, ['/word'], 'fetched once')

  const wrong = await cluster.hearth([
    'task',
    'run',
    '--name',
    'wrong',
    '--artifact',
    `${url},sha256=${'0'.repeat(64)}`,
    'host',
    'true'
  ])
  t.match(wrong, { stderr: /an artifact is missing: http:\S+ is not what the task asks for/ })
  t.match(await cluster.json<Task>(['task', 'show', 'wrong']), { state: 'failed', reason: 'artifact_failed' })
  t.match(await run('--artifact', `file:${home}/given/link`, 'host', 'true'), {
    stderr: /lets tasks mount only .*; to allow \/etc\/shadow/
  })
  t.match(await run('--artifact', `${url},to=../../x`, 'host', 'true'), { code: 64, stderr: /below the sandbox/ })
  t.match(await cluster.hearth(['tenant', 'set', '*', '--host-path', '/nowhere']), { code: 0 })
  t.match(await run('--artifact', `file:${packed}`, 'host', 'true'), { stderr: /may not read \S+site.tar.gz, only \/nowhere/ })
})
