import { createHash } from 'node:crypto'
import { lstatSync, readlinkSync, statSync } from 'node:fs'
import { chmod, mkdir, readdir, readlink, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LayerView } from './layer-view.ts'

/**
 * The /etc of the built-in image, made from an allow-list. A source counts only when everybody on the host may read it, and only
 * when it lies where it belongs after its links have been followed: nothing gets in because it was merely in reach.
 */
const maxFileBytes = 16 * 1024 * 1024
const maxDirectoryEntries = 10_000

type Clean = (content: Buffer) => Buffer | undefined

interface TextSource {
  readonly path: string
  /** Where the file may really lie. */
  readonly below: readonly string[]
  readonly clean: Clean
}

const anyText: Clean = (content) => (content.includes(0) || looksSecret(content) ? undefined : content)
const anyBytes: Clean = (content) => content

const textSources: readonly TextSource[] = [
  { path: '/etc/passwd', below: ['/etc/passwd'], clean: withoutHashes },
  { path: '/etc/group', below: ['/etc/group'], clean: withoutHashes },
  { path: '/etc/nsswitch.conf', below: ['/etc/', '/usr/'], clean: anyText },
  { path: '/etc/hosts', below: ['/etc/'], clean: anyText },
  { path: '/etc/hostname', below: ['/etc/'], clean: anyText },
  {
    path: '/etc/resolv.conf',
    below: ['/etc/', '/run/systemd/resolve/', '/run/resolvconf/', '/run/NetworkManager/'],
    clean: resolver
  },
  { path: '/etc/ld.so.cache', below: ['/etc/', '/var/cache/ldconfig/'], clean: linkerCache },
  { path: '/etc/ld.so.conf', below: ['/etc/ld.so.conf'], clean: anyText },
  { path: '/etc/ca-certificates.conf', below: ['/etc/'], clean: anyText }
]

const certificateHomes = [
  '/etc/ssl/certs/',
  '/etc/ca-certificates/',
  '/etc/pki/tls/certs/',
  '/etc/pki/ca-trust/extracted/',
  '/usr/'
]
const neverBelow = ['/etc/shadow', '/etc/gshadow', '/etc/ssl/private', '/etc/ssh', '/etc/passwd-', '/etc/group-', '/etc/sudoers']

/** Their own times and those of what they link to tell whether /etc must be made again. */
const watchedPaths: readonly string[] = [
  ...textSources.map((source) => source.path),
  ...['/etc/localtime', '/etc/ld.so.conf.d', '/etc/alternatives', '/etc/ssl/certs', '/etc/ssl/certs/ca-certificates.crt'],
  ...['/etc/ca-certificates', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']
]

/** Changes when a source changed. About 40 stat calls: it is asked before each launch. */
export function hostFingerprint(hostRoot: string, salt: string): string {
  const hash = createHash('sha256').update(salt)
  for (const path of watchedPaths) hash.update(`${path} ${footprint(join(hostRoot, path))}\n`)
  return hash.digest('hex')
}

function footprint(path: string): string {
  const own = lstatSync(path, { throwIfNoEntry: false })
  if (own === undefined) return 'absent'
  const shown = `${own.mode} ${own.uid} ${own.size} ${own.mtimeMs} ${own.ino}`
  if (!own.isSymbolicLink()) return shown
  const target = statSync(path, { throwIfNoEntry: false })
  return `${shown} ${readlinkSync(path)} ${target === undefined ? 'dangling' : `${target.mode} ${target.size} ${target.mtimeMs}`}`
}

/** Writes the generated /etc below `root`; `root/etc` must not be there yet. */
export async function writeHostEtc(hostRoot: string, root: string): Promise<void> {
  const host = new LayerView([hostRoot])
  for (const folder of ['etc', 'etc/ssl']) await makeFolder(join(root, folder))
  for (const source of textSources) await copyText(host, source, root)
  await copyLocalTime(host, root)
  await copyDirectory(host, root, '/etc/ld.so.conf.d', async (path) =>
    path.endsWith('.conf') ? copyText(host, { path, below: ['/etc/ld.so.conf.d/', '/usr/'], clean: anyText }, root) : undefined
  )
  await copyDirectory(host, root, '/etc/alternatives', async (path) => {
    await copyLink(hostRoot, root, path, ['/'])
  })
  await copyCertificates(host, hostRoot, root, '/etc/ssl/certs')
  await copyCertificates(host, hostRoot, root, '/etc/ca-certificates')
}

async function copyText(host: LayerView, source: TextSource, root: string): Promise<void> {
  const node = await host.lookup(source.path)
  if (node.kind !== 'file' || (node.stats.mode & 0o004) === 0 || node.stats.size > maxFileBytes) return
  if (!isBelow(node.path, source.below) || isBelow(node.path, neverBelow)) return
  const raw = await host.readFile(source.path, maxFileBytes)
  const content = raw === undefined ? undefined : source.clean(raw)
  if (content !== undefined) await writePublic(join(root, source.path), content)
}

/** Open to all, whatever the agent's umask. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path)
  await chmod(path, 0o755)
}

async function writePublic(path: string, content: Uint8Array): Promise<void> {
  await writeFile(path, content, { mode: 0o644, flag: 'wx' })
  await chmod(path, 0o644)
}

async function copyLocalTime(host: LayerView, root: string): Promise<void> {
  const node = await host.lookup('/etc/localtime')
  if (node.kind !== 'file' || (node.stats.mode & 0o004) === 0 || node.stats.size > maxFileBytes) return
  if (node.path.startsWith('/usr/share/zoneinfo/')) {
    await symlink(node.path, join(root, 'etc/localtime'))
    return
  }
  const clean: Clean = (content) => (content.subarray(0, 4).toString('latin1') === 'TZif' ? content : undefined)
  await copyText(host, { path: '/etc/localtime', below: ['/etc/localtime'], clean }, root)
}

async function copyDirectory(host: LayerView, root: string, path: string, copy: (path: string) => Promise<void>): Promise<void> {
  const node = await host.lookup(path)
  if (node.kind !== 'directory') return
  await makeFolder(join(root, path))
  const names = (await readdir(node.hostPath)).sort().slice(0, maxDirectoryEntries)
  for (const name of names) await copy(`${path}/${name}`)
}

/** A link is only a name: inside the container it leads to what is there. */
async function copyLink(hostRoot: string, root: string, path: string, targetsBelow: readonly string[]): Promise<boolean> {
  const target = await readlink(join(hostRoot, path)).catch(() => undefined)
  const sibling = target !== undefined && !target.includes('/') && target !== '..' && target !== '.'
  if (target === undefined || !(sibling || isBelow(target, targetsBelow))) return false
  await symlink(target, join(root, path))
  return true
}

async function copyCertificates(host: LayerView, hostRoot: string, root: string, path: string): Promise<void> {
  await copyDirectory(host, root, path, async (name) => {
    if (await copyLink(hostRoot, root, name, ['/usr/share/', '/usr/local/share/'])) return
    await copyText(host, { path: name, below: certificateHomes, clean: onlyCertificates }, root)
  })
}

const isBelow = (path: string, folders: readonly string[]): boolean =>
  !path.split('/').includes('..') &&
  folders.some((folder) => path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`))

/** The second field held the password's hash before shadow files, and still may. */
function withoutHashes(content: Buffer): Buffer {
  const lines = content.toString('latin1').split('\n')
  const clean = lines
    .filter((line) => line.split(':').length >= 4 && !line.startsWith('#'))
    .map((line) => {
      const fields = line.split(':')
      return [fields[0], 'x', ...fields.slice(2)].join(':')
    })
  return Buffer.from(`${clean.join('\n')}\n`, 'latin1')
}

const resolverWords = new Set(['nameserver', 'search', 'domain', 'options', 'sortlist'])

function resolver(content: Buffer): Buffer {
  const lines = content.toString('latin1').split('\n')
  const kept = lines.filter((line) => resolverWords.has(line.trim().split(/\s+/)[0] ?? ''))
  return Buffer.from(kept.length === 0 ? '' : `${kept.join('\n')}\n`, 'latin1')
}

function linkerCache(content: Buffer): Buffer | undefined {
  const magic = content.subarray(0, 17).toString('latin1')
  return magic.startsWith('glibc-ld.so.cache') || magic.startsWith('ld.so-1.7.0') ? anyBytes(content) : undefined
}

const looksSecret = (content: Buffer): boolean => content.includes('PRIVATE KEY-----')

/** PEM with certificates and nothing else in its blocks. */
function onlyCertificates(content: Buffer): Buffer | undefined {
  if (content.includes(0) || looksSecret(content)) return undefined
  const blocks = [...content.toString('latin1').matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----/g)].map(([, label = '']) => label)
  const allowed = blocks.every((label) => ['CERTIFICATE', 'TRUSTED CERTIFICATE', 'X509 CERTIFICATE'].includes(label))
  return blocks.length > 0 && allowed ? pemBlocks(content) : undefined
}

/** The blocks alone: what stands between them may be anybody's note. */
function pemBlocks(content: Buffer): Buffer {
  const blocks = content.toString('latin1').match(/-----BEGIN [^-]+-----[A-Za-z0-9+/=\s]+-----END [^-]+-----/g) ?? []
  return Buffer.from(`${blocks.join('\n')}\n`, 'latin1')
}
