import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { writeToChild } from './child-input.ts'
import { blockBytes } from './tar-header.ts'

export interface SpecialNode {
  /** Below the root, one byte to a character. */
  readonly name: string
  readonly flag: '0' | '1' | '3' | '5' | '6'
  readonly linkName?: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  readonly size: number
  readonly attributes: ReadonlyMap<string, Buffer>
}

const maxErrorBytes = 4096

/**
 * Node can neither make device nodes nor set extended attributes. GNU tar can: what needs either is handed to one `tar` child as an
 * archive of our own making, in which every name has been checked. The child is started with the first such node.
 */
export class SpecialNodes {
  readonly #root: string
  #child: Tar | undefined

  constructor(root: string) {
    this.#root = root
  }

  async add(node: SpecialNode, content: AsyncIterable<Uint8Array>): Promise<void> {
    this.#child ??= startTar(this.#root)
    const child = this.#child
    await write(child, encodeNode(node))
    for await (const chunk of content) await write(child, chunk)
    await write(child, Buffer.alloc((blockBytes - (node.size % blockBytes)) % blockBytes))
  }

  async finish(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    await write(child, Buffer.alloc(2 * blockBytes))
    child.stdin.end()
    await child.ended
    this.#child = undefined
    if (child.failure() !== undefined) throw failureOf(child)
  }

  async abandon(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return
    child.process.kill('SIGKILL')
    await child.ended
  }
}

interface Tar {
  readonly process: ChildProcess
  readonly stdin: Writable
  readonly ended: Promise<void>
  readonly failure: () => string | undefined
}

function startTar(root: string): Tar {
  const flags = [
    '--same-owner',
    '--same-permissions',
    '--numeric-owner',
    '--delay-directory-restore',
    '--xattrs',
    '--xattrs-include=*'
  ]
  const child = spawn('tar', ['--extract', '--file=-', `--directory=${root}`, ...flags], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }
  })
  let said = ''
  let code: number | null | undefined
  const stderr: Readable = child.stderr
  stderr.on('data', (chunk: Buffer) => {
    said = `${said}${chunk.toString('utf8')}`.slice(0, maxErrorBytes)
  })
  // The reason why the pipe closed is what the child said and its exit code.
  child.stdin.on('error', () => undefined)
  const ended = new Promise<void>((resolve) => {
    child.once('error', (e) => {
      said = e.message
      code = null
      resolve()
    })
    child.once('close', (exit) => {
      code ??= exit
      resolve()
    })
  })
  return {
    process: child,
    stdin: child.stdin,
    ended,
    failure: () => (code === 0 && said === '' ? undefined : said || `exit code ${code ?? 'none'}`)
  }
}

async function write(child: Tar, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0 || (await writeToChild(child.stdin, bytes))) return
  await child.ended
  throw failureOf(child)
}

function failureOf(child: Tar): Fault {
  const said = child.failure() ?? ''
  if (/No space left|Disk quota|Wrote only/.test(said))
    return new Fault('exhausted', 'no space left on the disk to unpack the image')
  return new Fault('unavailable', `the host's tar could not make a file of the image: ${said.split('\n')[0] ?? ''}`)
}

/** A header with all that does not fit, or is not text, in a pax header before it. */
function encodeNode(node: SpecialNode): Buffer {
  const records = new Map<string, Buffer>([['path', Buffer.from(node.name, 'latin1')]])
  if (node.linkName !== undefined) records.set('linkpath', Buffer.from(node.linkName, 'latin1'))
  for (const [key, value] of node.attributes) records.set(`SCHILY.xattr.${key}`, value)
  records.set('size', Buffer.from(`${node.size}`))
  records.set('uid', Buffer.from(`${node.uid}`))
  records.set('gid', Buffer.from(`${node.gid}`))
  records.set('mtime', Buffer.from(`${node.mtimeSeconds}`))
  const body = Buffer.concat([...records].map(([key, value]) => encodePaxRecord(key, value)))
  const padded = Buffer.concat([body, Buffer.alloc((blockBytes - (body.length % blockBytes)) % blockBytes)])
  return Buffer.concat([encodeBlock('x', body.length, 0), padded, encodeBlock(node.flag, node.size, node.mode)])
}

function encodePaxRecord(key: string, value: Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')])
  let length = tail.length + 1
  while (`${length}`.length + tail.length !== length) length += 1
  return Buffer.concat([Buffer.from(`${length}`), tail])
}

function encodeBlock(flag: string, size: number, mode: number): Buffer {
  const block = Buffer.alloc(blockBytes)
  block.write('entry', 0)
  block.write(mode.toString(8).padStart(7, '0'), 100)
  block.write('0000000', 108)
  block.write('0000000', 116)
  // A size beyond octal's reach stands in the pax header.
  block.write((size % 8 ** 11).toString(8).padStart(11, '0'), 124)
  block.write('00000000000', 136)
  block.write('        ', 148)
  block.write(flag, 156)
  block.write('ustar\x0000', 257, 'latin1')
  block.write('0000000', 329)
  block.write('0000000', 337)
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
