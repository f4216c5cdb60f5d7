import { lstatSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { OperatorClient } from '../../sdk/operator-client.ts'
import { showBytes } from '../amounts.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { usage } from '../failure.ts'
import { renderTable } from '../output/table.ts'

export async function listFiles(context: Context, id: string, path: string, options: CommonOptions): Promise<number> {
  const entries = await context.client(options).tasks.files(id, path, context.signal)
  const { stdout } = context.streams
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(entries, null, 2)}\n`)
    return 0
  }
  const table = renderTable(
    [
      { title: 'MODE', value: (entry) => entry.mode.toString(8).padStart(4, '0') },
      { title: 'SIZE', value: (entry) => (entry.kind === 'file' ? showBytes(entry.bytes) : ''), align: 'right' },
      { title: 'MODIFIED', value: (entry) => new Date(entry.modifiedMs).toISOString().slice(0, 19).replace('T', ' ') },
      { title: 'NAME', value: (entry) => `${entry.name}${entry.kind === 'folder' ? '/' : ''}`, shrinks: true }
    ],
    entries,
    widthOf(stdout)
  )
  await writeOut(stdout, table)
  return 0
}

interface Remote {
  readonly id: string
  readonly path: string
}

/** `TASK:PATH`, unless it is plainly a local path. */
export function parseRemote(text: string): Remote | undefined {
  if (text.startsWith('/') || text.startsWith('.') || text === '-') return undefined
  const at = text.indexOf(':')
  return at <= 0 ? undefined : { id: text.slice(0, at), path: text.slice(at + 1) }
}

export async function copyFiles(context: Context, from: string, to: string, options: CommonOptions): Promise<number> {
  const source = parseRemote(from)
  const target = parseRemote(to)
  const client = context.client(options)
  if (source !== undefined && target === undefined) return copyOut(context, client, source, to)
  if (source === undefined && target !== undefined) return copyIn(context, client, from, target)
  throw usage('one of the two must be TASK:PATH and the other a local path')
}

async function copyOut(context: Context, client: OperatorClient, source: Remote, to: string): Promise<number> {
  const tar = await client.tasks.readArchive(source.id, source.path, context.signal)
  if (to === '-') {
    for await (const chunk of tar) await writeOut(context.streams.stdout, chunk)
    return 0
  }
  const { unpackTo } = await import('../local-archive.ts')
  const into = isFolder(to)
  // `cp TASK:a/b local` makes local/b where local is a folder, and local itself otherwise; the tar's names begin with `b` or `.`.
  const top = basename(source.path)
  await unpackTo(tar, (name) => {
    if (into) return join(to, name)
    return name === top || name.startsWith(`${top}/`) ? join(to, name.slice(top.length)) : join(to, name)
  })
  return 0
}

async function copyIn(context: Context, client: OperatorClient, from: string, target: Remote): Promise<number> {
  const { tasks } = client
  if (from === '-') {
    const input = context.streams.stdin as unknown as AsyncIterable<Uint8Array>
    await tasks.writeArchive(target.id, target.path, input, context.signal)
    return 0
  }
  try {
    lstatSync(from)
  } catch (e) {
    throw new Fault('not-found', `${from} cannot be read (${errnoOf(e) ?? String(e)})`, { from }, e)
  }
  const { packNamed } = await import('../local-archive.ts')
  const name = basename(from === '.' || from === '..' ? process.cwd() : from)
  if (await isRemoteFolder(client, target, context.signal)) {
    await tasks.writeArchive(target.id, target.path, packNamed(from, name), context.signal)
  } else {
    const parts = target.path.split('/').filter((part) => part !== '')
    const renamed = parts.pop() ?? name
    await tasks.writeArchive(target.id, parts.join('/'), packNamed(from, renamed), context.signal)
  }
  return 0
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

async function isRemoteFolder(client: OperatorClient, target: Remote, signal: AbortSignal): Promise<boolean> {
  const parts = target.path.split('/').filter((part) => part !== '' && part !== '.')
  const name = parts.pop()
  if (name === undefined) return true
  try {
    const siblings = await client.tasks.files(target.id, parts.join('/'), signal)
    return siblings.some((entry) => entry.name === name && entry.kind === 'folder')
  } catch (e) {
    if (isFault(e, 'not-found')) return false // the parent is missing too: the copy itself tells
    throw e
  }
}
