import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Expected } from '../campaign/invariants/expected.ts'
import { observe } from '../campaign/invariants/observe.ts'
import { bootDirsOf, type Places } from '../campaign/invariants/places.ts'
import { violations } from '../campaign/invariants/violations.ts'
import { until } from '../support/until.ts'

const id = randomBytes(16).toString('hex')
const short = id.slice(0, 8)
const nothing: Expected = { tasks: [], statuses: [], agentRuns: false }
const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' })

function emptyWorld(test: Test): Places {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-seen-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const stateDir = join(directory, 's')
  const marksDir = join(directory, 'm')
  const places = { stateDir, marksDir, bootDirs: bootDirsOf(stateDir), cgroupParent: `/hearth-test-${short}` }
  for (const path of [places.stateDir, places.marksDir]) mkdirSync(path)
  return places
}

/** All that is seen with no owner, but for the ledger that was never made. */
const orphansIn = (places: Places): readonly string[] =>
  violations(nothing, observe(places, [id])).filter((sentence) => !sentence.startsWith('the ledger'))

t.test('what a world leaves in the kernel and on the disk is seen, each by its kind', async (t) => {
  const places = emptyWorld(t)
  const { stateDir, cgroupParent } = places
  t.strictSame(orphansIn(places), [], 'an empty world has none')

  const planted = async (what: string, plant: () => void, undo: () => void): Promise<void> => {
    plant()
    try {
      t.match(orphansIn(places), [new RegExp(`^nothing is orphaned: ${what}`)], what)
    } finally {
      undo()
    }
    // A container that starts elsewhere on the host holds a copy of all mounts until it has its own root.
    await until(() => orphansIn(places).length === 0)
  }
  const cgroup = `/sys/fs/cgroup/pids${cgroupParent}`
  const root = existsSync('/sys/fs/cgroup/pids') ? cgroup : `/sys/fs/cgroup${cgroupParent}`
  await planted(
    'cgroup ',
    () => mkdirSync(root),
    () => rmdirSync(root)
  )
  const mounted = join(stateDir, 'volume')
  mkdirSync(mounted)
  await planted(
    'mount ',
    () => run('mount', '-t', 'tmpfs', 'none', mounted),
    () => run('umount', mounted)
  )
  await planted(
    'network namespace ',
    () => run('ip', 'netns', 'add', id),
    () => run('ip', 'netns', 'del', id)
  )
  await planted(
    'link ',
    () => run('ip', 'link', 'add', `ht${short}`, 'type', 'bridge'),
    () => run('ip', 'link', 'del', `ht${short}`)
  )
  const table = `hearth_test_${short}`
  await planted(
    'nft element ',
    () => run('nft', `table inet ${table} {}`),
    () => run('nft', 'delete', 'table', 'inet', table)
  )
  const image = join(stateDir, 'image')
  writeFileSync(image, '')
  truncateSync(image, 1024 * 1024)
  let device = ''
  await planted(
    'loop device loop',
    () => {
      device = run('losetup', '--find', '--show', image).trim()
    },
    () => run('losetup', '-d', device)
  )
  const folders = [`run/oci/runc/${id}`, `run/c/${id}`, `run/exits/${id}`, `agent/sandboxes/${id}`]
  const kinds = ['runtime state', 'bundle', 'exit file', 'sandbox']
  for (const [i, folder] of folders.entries()) {
    await planted(
      `${kinds[i]} ${id}`,
      () => mkdirSync(join(stateDir, folder), { recursive: true }),
      () => rmdirSync(join(stateDir, folder))
    )
  }
  await planted(
    'half-written file run/a.draft',
    () => writeFileSync(join(stateDir, 'run/a.draft'), ''),
    () => rmSync(join(stateDir, 'run/a.draft'))
  )
})

t.test('processes of a world are seen, and what they are', async (t) => {
  const places = emptyWorld(t)
  const children: ChildProcess[] = []
  t.teardown(() => {
    for (const child of children) child.kill('SIGKILL')
  })
  const start = (name: string, ...args: string[]): void => {
    children.push(spawn('sh', ['-c', 'read wait', ...args], { argv0: name, stdio: ['pipe', 'ignore', 'ignore'] }))
  }
  start('conmon', '-b', join(places.stateDir, 'run/c', id), '-c', id)
  start('runc', '--root', join(places.stateDir, 'run/oci/runc'), 'create', id)
  start('terminal', places.stateDir)
  await until(() => observe(places, [id]).processes.length === 3)
  t.match(
    observe(places, [id])
      .processes.map((p) => `${p.kind} ${p.containerId}`)
      .sort(),
    ['child ', `monitor ${id}`, `runtime ${id}`]
  )
  t.match([...orphansIn(places)].sort(), [/orphaned: child with pid/, /orphaned: conmon with pid/, /orphaned: runtime with pid/])
})
