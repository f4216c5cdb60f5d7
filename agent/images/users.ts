import { Fault } from '../../base/fault.ts'
import { openLayerView } from './layer-view.ts'

export interface ResolvedUser {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
}

const maxFileBytes = 4 * 1024 * 1024
const largestId = 2 ** 32 - 2

interface PasswdRow {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

interface GroupRow {
  readonly name: string
  readonly gid: number
  readonly members: readonly string[]
}

/**
 * `user`, `user:group`, each a name or a number, looked up in the image's own passwd and group; empty is root. `written` gives
 * what a running container has put in the place of these files. Throws `Fault('invalid')` for a name that is in neither.
 */
export async function resolveUser(
  user: string,
  layers: readonly string[],
  written: (path: string) => Promise<Buffer | undefined> = async () => undefined
): Promise<ResolvedUser> {
  if (user === '' || user === '0:0') return { uid: 0, gid: 0, additionalGids: [] }
  const [userPart = '', groupPart, ...more] = user.split(':')
  if (more.length > 0 || groupPart === '' || userPart === '')
    throw new Fault('invalid', `${shown(user)} is no user: write USER or USER:GROUP`)
  const view = await openLayerView(layers)
  const lines = async (path: string): Promise<string[]> =>
    ((await written(path)) ?? (await view.readFile(path, maxFileBytes)) ?? '').toString('utf8').split('\n')
  const users = passwdRows(await lines('/etc/passwd'))
  const groups = groupRows(await lines('/etc/group'))
  const uidGiven = idOf(userPart)
  const row = users.find((one) => one.name === userPart) ?? users.find((one) => one.uid === uidGiven)
  const uid = row?.uid ?? uidGiven
  if (uid === undefined)
    throw new Fault('invalid', `the image has no user ${shown(userPart)} in its /etc/passwd: use a number, or a user that it has`)
  if (groupPart !== undefined) return { uid, gid: groupId(groupPart, groups), additionalGids: [] }
  const gid = row?.gid ?? 0
  const name = row?.name
  const member = groups.filter((group) => group.gid !== gid && name !== undefined && group.members.includes(name))
  return { uid, gid, additionalGids: [...new Set(member.map((group) => group.gid))] }
}

function groupId(text: string, groups: readonly GroupRow[]): number {
  const gid = groups.find((group) => group.name === text)?.gid ?? idOf(text)
  if (gid === undefined)
    throw new Fault('invalid', `the image has no group ${shown(text)} in its /etc/group: use a number, or a group that it has`)
  return gid
}

function passwdRows(lines: readonly string[]): PasswdRow[] {
  return lines.flatMap((line) => {
    const [name = '', , uid = '', gid = ''] = line.split(':')
    const ids = { uid: idOf(uid), gid: idOf(gid) }
    return name === '' || ids.uid === undefined || ids.gid === undefined ? [] : [{ name, uid: ids.uid, gid: ids.gid }]
  })
}

function groupRows(lines: readonly string[]): GroupRow[] {
  return lines.flatMap((line) => {
    const [name = '', , id = '', members = ''] = line.split(':')
    const gid = idOf(id)
    return name === '' || gid === undefined ? [] : [{ name, gid, members: members.trim().split(',') }]
  })
}

function idOf(text: string): number | undefined {
  const id = /^[0-9]{1,10}$/.test(text.trim()) ? Number(text) : Number.NaN
  return id <= largestId ? id : undefined
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 80))
