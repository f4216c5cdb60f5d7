import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Kernel objects with the marks of docs/decisions/0018, made by the host's own programs. */

export const kernelKinds = ['network_namespace', 'link', 'nft_table', 'nft_element', 'loop_device'] as const

interface Owner {
  readonly agentId: string
  readonly runDir: string
  readonly stateDir: string
}

interface Teardown {
  teardown(undo: () => void): void
}

/** Paths below which each object shows, one for each id, but for what nft holds; undone by the teardown, whatever is left of them. */
export function plantKernelObjects(
  t: Teardown,
  { agentId, runDir, stateDir }: Owner,
  ids: readonly string[]
): Readonly<Record<(typeof kernelKinds)[number], readonly string[]>> {
  const namespaces = ids.map((id) => join(runDir, 'netns', id))
  mkdirSync(join(runDir, 'netns'), { recursive: true })
  t.teardown(() => {
    for (const path of namespaces) if (read('/proc/self/mountinfo').includes(` ${path} `)) run('umount', '--lazy', path)
  })
  for (const path of namespaces) writeFileSync(path, '')
  script(namespaces.map((path) => `unshare --net=${path} true`))

  const links = ids.map((id) => `hth${id.slice(0, 12)}`)
  t.teardown(() => {
    for (const name of links) if (readdirSync('/sys/class/net').includes(name)) run('ip', 'link', 'delete', name)
  })
  const linkLines = links.flatMap((name, i) => [
    `link add name ${name} type bridge`,
    `link set dev ${name} alias "hearth ${agentId} ${ids[i]}"`
  ])
  execFileSync('ip', ['-batch', '-'], { input: linkLines.join('\n') })

  const table = `hearth_${agentId}`
  const tables = [table, ...ids.slice(1).map((id) => `${table}_${id}`)]
  t.teardown(() => {
    const left = run('nft', 'list', 'tables')
    for (const name of tables) if (left.split(/\s/).includes(name)) run('nft', 'delete', 'table', 'inet', name)
  })
  const elements = ids.map((id, i) => `10.${(i >> 8) & 255}.${i & 255}.1 comment "${id}"`).join(', ')
  const empty = tables.slice(1).map((name) => `table inet ${name} {}\n`)
  const set = `set s { type ipv4_addr; elements = { ${elements} }\n}\n`
  execFileSync('nft', ['-f', '-'], { input: `table inet ${table} { ${set} }\n${empty.join('')}` })

  return {
    network_namespace: namespaces,
    link: links.map((name) => `/sys/class/net/${name}`),
    nft_table: [],
    nft_element: [],
    loop_device: plantLoops(
      t,
      ids.map((id) => join(stateDir, 'agent/volumes', id))
    )
  }
}

/** The backing files' attributes, which are gone with the device. */
function plantLoops(t: Teardown, files: readonly string[]): readonly string[] {
  const devices: string[] = []
  t.teardown(() => {
    for (const [i, file] of files.entries()) {
      const device = devices[i] ?? ''
      if (read(`/sys/block/${device}/loop/backing_file`).startsWith(file)) run('losetup', '--detach', `/dev/${device}`)
      rmSync(file, { force: true })
    }
  })
  for (const file of files) {
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, '')
    truncateSync(file, 4096)
    devices.push(run('losetup', '--find', '--show', file).trim().replace('/dev/', ''))
  }
  return devices.map((device) => `/sys/block/${device}/loop/backing_file`)
}

/** Layers that no image of the store names. */
export function plantLayers(stateDir: string, count: number): readonly string[] {
  return Array.from({ length: count }, () => {
    const path = join(stateDir, 'agent/images/layers', randomBytes(32).toString('hex'))
    mkdirSync(path, { recursive: true })
    return path
  })
}

/** Objects that look like ours by name or by place and say nothing of an agent. */
export function plantUnmarked(t: Teardown, stateDir: string): readonly string[] {
  const word = randomBytes(4).toString('hex')
  const link = `hth${word}`
  run('ip', 'link', 'add', 'name', link, 'type', 'bridge')
  t.teardown(() => run('ip', 'link', 'delete', link))
  run('nft', `table inet hearth_${word} {}`)
  t.teardown(() => run('nft', 'delete', 'table', 'inet', `hearth_${word}`))
  return [`/sys/class/net/${link}`, `inet hearth_${word}`, ...plantLoops(t, [join(stateDir, 'disk.img')])]
}

const run = (program: string, ...words: readonly string[]): string => execFileSync(program, words, { encoding: 'utf8' })

const script = (lines: readonly string[]): string => run('sh', '-ec', lines.join('\n'))

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // gone
  }
}
