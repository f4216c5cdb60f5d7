import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import { isShiftedView } from '../images/shifted-views.ts'
import { type ResolvedUser, resolveUser } from '../images/users.ts'
import { openFolder, openNamed, openToRead } from '../sandbox-files/beneath.ts'
import type { LocalTask } from './task-routes.ts'

const maxFileBytes = 4 * 1024 * 1024

/**
 * The user of a program run inside a container: as for the container itself out of the passwd and group of its image, or as the
 * container has written them since. Throws `Fault('invalid')` for a user that the container does not have.
 */
export async function execUser(task: LocalTask, user: string): Promise<ResolvedUser> {
  const { layers, upper } = await rootOf(task.bundleDir)
  const written = async (path: string): Promise<Buffer | undefined> => (upper === undefined ? undefined : ownFile(upper, path))
  try {
    return await resolveUser(user, layers, written)
  } catch (e) {
    if (!isFault(e) || e.code !== 'invalid') throw e
    throw new Fault(e.code, e.message, { ...e.detail, reason: 'no_user', exitCode: 126 }, e)
  }
}

interface Root {
  readonly layers: readonly string[]
  readonly upper: string | undefined
}

/** The overlay's options are in the bundle: in config.json, or in `overlay` for a runtime that mounts no root itself. */
async function rootOf(bundleDir: string): Promise<Root> {
  const config = JSON.parse(await readFile(join(bundleDir, 'config.json'), 'utf8')) as {
    readonly root: { readonly path: string }
    readonly mounts?: readonly { readonly destination: string; readonly type?: string; readonly options?: readonly string[] }[]
  }
  const mount = config.mounts?.find((m) => m.destination === '/' && m.type === 'overlay')
  const options = mount?.options ?? (await aside(bundleDir))
  const option = (name: string): string | undefined =>
    options?.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1)
  const lower = option('lowerdir')
  if (lower === undefined) return { layers: [resolve(bundleDir, config.root.path)], upper: undefined }
  const layers = lower.split(/(?<!\\):/).map(unescaped)
  // What is in a shifted view is owners without content; the content is in the layer below it.
  return { layers: layers.filter((path) => !isShiftedView(path)), upper: option('upperdir') }
}

async function aside(bundleDir: string): Promise<readonly string[] | undefined> {
  const text = await readFile(join(bundleDir, 'overlay'), 'utf8').catch((e: unknown) => {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  })
  return text?.split('\n', 1)[0]?.split(/(?<!\\),/)
}

const unescaped = (path: string): string => path.replace(/\\(.)/g, '$1')

/**
 * A regular file of the writable layer, which the task changes while we look: no link is followed, and what is no such file there
 * counts as not written.
 */
async function ownFile(upper: string, path: string): Promise<Buffer | undefined> {
  const names = path.split('/').filter((name) => name !== '')
  try {
    return await withHandle(await openFolder(upper, names.slice(0, -1)), async (folder) =>
      withHandle(await openNamed(folder, names.at(-1) ?? ''), async (named) => {
        const stats = await named.stat()
        if (!stats.isFile()) return undefined
        if (stats.size > maxFileBytes) throw new Fault('invalid', `${path} of the container is larger than ${maxFileBytes} bytes`)
        const content = await withHandle(await openToRead(named), (file) => file.readFile())
        // Only its owner or mode was written (overlayfs, "Metadata only copy up"); no such file begins with a zero.
        return content[0] === 0 ? undefined : content
      })
    )
  } catch (e) {
    if (isFault(e) && e.code === 'invalid' && e.message.startsWith(path)) throw e
    if (isFault(e) || errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
