import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readLog } from '../../agent/logs/reader.ts'
import { LogRotation, logBudgetDefaults, unattendedLogBytes } from '../../agent/logs/rotation.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'

const has = (program: string): boolean => {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`])
    return true
  } catch {
    return false
  }
}
const missing = process.getuid?.() !== 0 ? 'needs root' : has('conmon') && has('runc') ? false : 'needs conmon and runc'

const libraries = ['usr', 'bin', 'lib', 'lib64']

function config(rootfs: string, arguments_: readonly string[]): unknown {
  return {
    ociVersion: '1.0.2',
    process: { terminal: false, user: { uid: 0, gid: 0 }, args: arguments_, env: ['PATH=/usr/bin:/bin'], cwd: '/' },
    root: { path: rootfs, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ...libraries.map((name) => ({ destination: `/${name}`, type: 'bind', source: `/${name}`, options: ['bind', 'ro'] }))
    ],
    linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }] }
  }
}

interface Ran {
  readonly bundle: string
  readonly path: string
  readonly ended: AbortSignal
  start(): void
}

/** A container held by conmon, created and not yet started. Gone with the test. */
async function create(t: Test, arguments_: readonly string[], logMaxBytes: number): Promise<Ran> {
  const id = randomId()
  const bundle = await mkdtemp(join(tmpdir(), 'hearth-log-'))
  for (const name of ['rootfs', 'exits', 'logs']) await mkdir(join(bundle, name))
  for (const name of ['proc', 'dev', ...libraries]) await mkdir(join(bundle, 'rootfs', name))
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config(join(bundle, 'rootfs'), arguments_)))
  const path = join(bundle, 'logs', 'log')
  const flags = ['--api-version', '1', '-c', id, '-u', id, '-r', '/usr/sbin/runc', '-b', bundle, '-p', join(bundle, 'pid')]
  flags.push('--exit-dir', join(bundle, 'exits'), '--persist-dir', bundle, '--socket-dir-path', bundle)
  flags.push('-l', `k8s-file:${path}`, '--log-size-max', String(logMaxBytes))
  const env = { PATH: process.env['PATH'] ?? '', _OCI_SYNCPIPE: '3' }
  const conmon = spawn('conmon', flags, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'], env, detached: true })
  const sync = conmon.stdio[3]
  if (sync === null || sync === undefined) throw new Error('no sync pipe')
  await once(sync, 'data')
  const over = new AbortController()
  const exits = watch(join(bundle, 'exits'), (_, name) => {
    if (name === id) over.abort()
  })
  t.teardown(async () => {
    exits.close()
    execFileSync('runc', ['delete', '-f', id])
    await rm(bundle, { recursive: true })
  })
  return { bundle, path, ended: over.signal, start: () => void execFileSync('runc', ['start', id]) }
}

async function collect(path: string, follow: boolean, ended: AbortSignal): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const { data } of readLog({ path, follow }, ended, new AbortController().signal)) parts.push(data)
  return Buffer.concat(parts).toString('latin1')
}

interface Flood {
  readonly name: string
  readonly lines: number
  readonly program: string
  readonly logMaxBytes: number
}

// In the second one conmon itself replaces its log twice. The pauses keep it from doing so twice between two looks at the log.
const floods: readonly Flood[] = [
  {
    name: 'as fast as it goes',
    lines: 800_000,
    program: 'seq 1 800000; printf end',
    logMaxBytes: unattendedLogBytes(logBudgetDefaults)
  },
  {
    name: 'over the limit of conmon',
    lines: 200_000,
    program: 'for i in $(seq 0 39); do seq $((i * 5000 + 1)) $((i * 5000 + 5000)); sleep 0.03; done; printf end',
    logMaxBytes: 4 * 1024 * 1024
  }
]

for (const { name, lines, program, logMaxBytes } of floods) {
  t.test(`${lines} lines through rotations, ${name}: none lost, none doubled`, { skip: missing }, async (t) => {
    const rotation = new LogRotation({ clock: systemClock, log: silentLog })
    t.teardown(() => rotation.stop())
    const ran = await create(t, ['/bin/sh', '-c', program], logMaxBytes)
    rotation.watch({ path: ran.path, controlPath: join(ran.bundle, 'ctl'), fileBytes: 512 * 1024, files: 60 })
    const following = collect(ran.path, true, ran.ended)
    ran.start()
    const followed = await following
    const wanted = `${Array.from({ length: lines }, (_, n) => `${n + 1}\n`).join('')}end`
    t.ok(followed === wanted, 'the follower saw every byte once')
    await rotation.unwatch(ran.path)
    const names = (await readdir(join(ran.bundle, 'logs'))).sort()
    t.ok(names.includes('log.1'), 'it was rotated')
    t.same(
      names.filter((file) => !/^log(\.\d+)?$/.test(file)),
      [],
      'no other name is left'
    )
    t.ok((await collect(ran.path, false, AbortSignal.abort())) === wanted, 'a later reader finds every byte once')
  })
}

t.test('a last line without its newline comes back as it was', { skip: missing }, async (t) => {
  const ran = await create(
    t,
    ['/bin/sh', '-c', "printf 'a\\n\\n\\377b\\r\\n'; head -c 30000 /dev/zero | tr '\\0' x; printf '\\nlast'"],
    1024 * 1024
  )
  const following = collect(ran.path, true, ran.ended)
  ran.start()
  const wanted = `a\n\n\xffb\r\n${'x'.repeat(30_000)}\nlast`
  t.equal(await following, wanted)
  t.match(await readFile(ran.path, 'latin1'), / stdout P last\n$/)
})
