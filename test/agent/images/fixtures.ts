import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { build } from 'esbuild'
import type { Test } from 'tap'
import { systemExec } from '../../../agent/host/exec.ts'
import { defaultImageLimits, type ImageLimits } from '../../../agent/images/limits.ts'
import type { LocalImageStore } from '../../../agent/images/local-store.ts'
import { type RegistrySettings, usualPatience } from '../../../agent/images/registry/settings.ts'
import { openImageStore } from '../../../agent/images/store.ts'
import type { ArchiveKind, ImportProgress } from '../../../agent/images/unpack-message.ts'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'

export const never = new AbortController().signal

export const isRoot = process.getuid?.() === 0

/** Speaks with nobody but registries on loopback, and gives up soon. */
export const noRegistries: RegistrySettings = {
  dockerHub: false,
  mirrors: [],
  insecure: [],
  dockerConfig: '/nonexistent/config.json',
  certificates: [],
  patience: { ...usualPatience, firstPauseMs: 1 }
}

/** A folder of the test's own, outside the checkout, removed when the test ends. */
export async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-images-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** The unpack child as it is shipped: one bundled file. */
export async function bundledUnpack(directory: string): Promise<readonly string[]> {
  const outfile = join(directory, 'unpack.cjs')
  const contents = "import { main } from './agent/images/unpack-main.ts'; void main(process.argv.slice(2))"
  const stdin = { contents, resolveDir: process.cwd(), loader: 'ts' as const }
  await build({ stdin, bundle: true, platform: 'node', target: 'node20', format: 'cjs', outfile, logLevel: 'error' })
  return [process.execPath, outfile]
}

export interface Bench {
  readonly directory: string
  readonly storeDirectory: string
  readonly unpackProgram: readonly string[]
  readonly store: LocalImageStore
  open(
    limits?: Partial<ImageLimits>,
    options?: {
      readonly hostRoot?: string
      readonly unpackProgram?: readonly string[]
      readonly registries?: RegistrySettings
    }
  ): Promise<LocalImageStore>
}

export async function storeBench(t: Test): Promise<Bench> {
  const directory = await scratch(t)
  const unpackProgram = await bundledUnpack(directory)
  const storeDirectory = join(directory, 'store')
  const open: Bench['open'] = (limits, options) =>
    openImageStore(
      { exec: systemExec, log: silentLog, clock: systemClock },
      {
        directory: storeDirectory,
        unpackProgram,
        limits: { ...defaultImageLimits, reserveBytes: 0, ...limits },
        registries: noRegistries,
        bootId: 'boot',
        ...options
      }
    )
  return { directory, storeDirectory, unpackProgram, store: await open(), open }
}

export const importBytes = (
  store: LocalImageStore,
  archive: Uint8Array | AsyncIterable<Uint8Array>,
  name: string,
  kind: ArchiveKind = 'auto',
  onProgress: (progress: ImportProgress) => void = () => undefined
) => store.import(archive instanceof Uint8Array ? Readable.from([archive]) : archive, { name, kind }, onProgress, never)

export const verify = (store: LocalImageStore, name: string, repair = false) =>
  store.verify(name, { repair, inUse: new Set(), onProgress: () => undefined }, never)

/** Runs a real program; fails the test where it fails. */
export async function run(program: string, args: readonly string[], input?: Uint8Array): Promise<Buffer> {
  const child = spawn(program, [...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  const out: Buffer[] = []
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8')
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code}: ${said}`)
  return Buffer.concat(out)
}

export interface Node {
  readonly name: string
  readonly type?: string
  readonly content?: string | Uint8Array
  readonly linkName?: string
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly pax?: Readonly<Record<string, string | Uint8Array>>
  /** Instead of the content's own. */
  readonly size?: number
}

/** A tar with exactly these headers, however wrong they are; no archiver would write most of them. */
export function tarOf(nodes: readonly Node[]): Buffer {
  return Buffer.concat([...nodes.map(tarEntry), Buffer.alloc(1024)])
}

function tarEntry(node: Node): Buffer {
  const content = Buffer.from(node.content ?? '')
  const pax = Object.entries(node.pax ?? {})
  const extended = Buffer.concat(pax.map(([key, value]) => paxRecord(key, Buffer.from(value))))
  const before = pax.length === 0 ? [] : [header({ name: 'pax', type: 'x' }, extended.length), padded(extended)]
  return Buffer.concat([...before, header(node, node.size ?? content.length), padded(content)])
}

function paxRecord(key: string, value: Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = tail.length + 1
  while (`${length}`.length + tail.length !== length) length += 1
  return Buffer.concat([Buffer.from(`${length}`), tail])
}

function header(node: Node, size: number): Buffer {
  const block = Buffer.alloc(512)
  const octal = (value: number, offset: number, length: number): number =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1')
  block.write(node.name, 0, 100, 'utf8')
  octal(node.mode ?? (node.type === '5' ? 0o755 : 0o644), 100, 8)
  octal(node.uid ?? 0, 108, 8)
  octal(node.gid ?? 0, 116, 8)
  octal(size, 124, 12)
  octal(1_600_000_000, 136, 12)
  block.write(node.type ?? '0', 156, 'latin1')
  block.write(node.linkName ?? '', 157, 100, 'utf8')
  block.write('ustar\x0000', 257, 'latin1')
  block.write('        ', 148, 'latin1')
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7
  )
  return block
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)])

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

export interface BuiltImage {
  readonly files: ReadonlyMap<string, Buffer>
  readonly manifestDigest: string
  readonly diffIds: readonly string[]
}

/** The files of an OCI image layout around these layers (plain tars). */
export function ociLayout(
  layers: readonly Buffer[],
  options: {
    readonly pack?: (layer: Buffer) => Buffer
    /** The media type of the layers; with `pack`, gzip's unless said otherwise. */
    readonly layerType?: string
    readonly config?: object
    readonly architecture?: string
  } = {}
): BuiltImage {
  const blobs = new Map<string, Buffer>()
  const put = (bytes: Buffer, mediaType: string) => {
    blobs.set(`blobs/sha256/${sha256(bytes)}`, bytes)
    return { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length }
  }
  const diffIds = layers.map((layer) => `sha256:${sha256(layer)}`)
  const plainType = 'application/vnd.oci.image.layer.v1.tar'
  const layerType = options.layerType ?? (options.pack === undefined ? plainType : `${plainType}+gzip`)
  const rows = layers.map((layer) => put(options.pack?.(layer) ?? layer, layerType))
  const architecture = options.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch)
  const config = put(
    json({ architecture, os: 'linux', config: options.config ?? {}, rootfs: { type: 'layers', diff_ids: diffIds } }),
    'application/vnd.oci.image.config.v1+json'
  )
  const manifest = put(json({ schemaVersion: 2, config, layers: rows }), 'application/vnd.oci.image.manifest.v1+json')
  const files = new Map([
    ...blobs,
    ['oci-layout', json({ imageLayoutVersion: '1.0.0' })] as const,
    ['index.json', json({ schemaVersion: 2, manifests: [manifest] })] as const
  ])
  return { files, manifestDigest: manifest.digest, diffIds }
}

export const archiveOf = (files: ReadonlyMap<string, Buffer>): Buffer =>
  tarOf([...files].map(([name, content]) => ({ name, content })))

/** Everything in the store, as `find` sees it: two equal answers mean that nothing was left behind. */
export async function contentOf(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true })
  const listed = await run('find', [directory, '-not', '-path', `${directory}/hosts/*`, '-printf', '%P %y %s\\n'])
  return listed
    .toString()
    .split('\n')
    .filter((line) => !/^(drafts|hosts|l|layers|blobs|blobs\/sha256)? d /.test(line))
    .sort()
    .join('\n')
}

export const namesIn = async (directory: string): Promise<readonly string[]> => (await readdir(directory)).sort()
