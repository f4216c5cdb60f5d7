import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { OperatorClient } from '../../sdk/operator-client.ts'
import { eventually, startCluster } from '../support/cluster.ts'

const file = `
name: shop
network: none
containers:
  - name: setup
    part: init
    image: host
    arguments: [sh, -c, "echo welcome > /pod/page"]
  - name: cache
    part: sidecar
    image: host
    arguments: [sleep, "1000"]
    memoryBytes: 33554432
    killPolicy: { signal: KILL, graceMs: 0 }
  - name: web
    image: host
    memoryBytes: 67108864
    arguments: [sh, -c, "cat /pod/page; until test -e /pod/end; do sleep 0.1; done"]
`

t.test('a pod is run from its file, each container is a task like others, and it ends as one', async (t) => {
  const cluster = await startCluster(t)
  const folder = t.testdir({ 'shop.yaml': file })
  const path = join(folder, 'shop.yaml')
  const hearth = async (...args: string[]): Promise<string> => {
    const ran = await cluster.hearth(args)
    t.equal(ran.code, 0, `${args.join(' ')}: ${ran.stderr}`)
    return ran.stdout
  }
  const master = new OperatorClient({ kind: 'socket', path: join(cluster.stateDir, 'run/master.sock') })
  const shown = (name: string) => master.tasks.show(name, AbortSignal.timeout(30_000))
  t.equal(await hearth('task', 'run', '-d', '--pod', path), 'shop.setup\nshop.cache\nshop.web\n')
  await eventually(async () => ((await shown('shop.web')).state === 'running' ? true : undefined))
  t.match(await shown('shop.setup'), { state: 'finished', part: 'init', exitCode: 0 })
  t.match(await shown('shop.cache'), { state: 'running', part: 'sidecar' })
  t.equal(await hearth('task', 'logs', 'shop.web'), 'welcome\n')
  t.equal((await cluster.hearth(['node', 'fsck'])).code, 0, 'the node owns everything of it')
  const again = await cluster.hearth(['task', 'run', '-d', '--pod', path])
  t.match(again, { code: 73, stderr: /a task named shop\.setup exists/ })

  t.test('an agent that is killed finds the pod again', async () => {
    await cluster.replace('agent')
    // Not before the new one has registered.
    await eventually(async () => {
      const ran = await cluster.hearth(['task', 'exec', 'shop.cache', '--', 'touch', '/pod/end'])
      return ran.code === 0 ? true : undefined
    })
    t.equal(await hearth('task', 'wait', 'shop.web'), '0\n')
  })

  await master.tasks.wait('shop.cache', AbortSignal.timeout(30_000))
  t.match(await shown('shop.cache'), { state: 'killed', reason: 'pod_ended', message: /all main containers have ended/ })
  await hearth('task', 'rm', 'shop.setup', 'shop.cache', 'shop.web')
  const nothing = await eventually(async () => {
    const fsck = await cluster.hearth(['node', 'fsck'])
    return fsck.code === 0 ? fsck : undefined
  })
  t.equal(nothing.code, 0)

  t.test('in the foreground its exit code is that of what brought it down', async (t) => {
    const bad = file
      .replace('name: shop', 'name: bad')
      .replace('cat /pod/page; until test -e /pod/end; do sleep 0.1; done', 'exit 9')
    writeFileSync(path, bad)
    const ran = await cluster.hearth(['task', 'run', '--rm', '--pod', path])
    t.equal(ran.code, 9, ran.stderr)
    t.match(ran.stderr, /bad\.cache killed: ended with its pod: bad\.web failed: ended with exit code 9/)
  })

  t.test('what is wrong with it is told in one sentence', async (t) => {
    const refused = async (text: string, sentence: RegExp): Promise<void> => {
      writeFileSync(path, text)
      const ran = await cluster.hearth(['task', 'run', '--pod', path])
      t.match(ran.stderr, sentence)
      t.not(ran.code, 0)
    }
    await refused('name: a\ncontainers: []', /a pod has at least one container/)
    await refused('containers: [', /is neither YAML nor JSON/)
    t.match((await cluster.hearth(['task', 'run', '--pod', path, '--memory', '64m'])).stderr, /write memory there/)
  })
})
