import { Fault } from '../base/fault.ts'
import { randomId } from '../base/random.ts'

declare const brand: unique symbol
type Branded<B extends string> = string & { readonly [brand]: B }

/** Three levels: framework + task (text of the framework's choosing), attempt (a number), ContainerId (ours, names every path). */
export type ClusterId = Branded<'ClusterId'>
export type NodeId = Branded<'NodeId'>
export type FrameworkId = Branded<'FrameworkId'>
export type TaskId = Branded<'TaskId'>
export type ContainerId = Branded<'ContainerId'>
export type Role = Branded<'Role'>

const ours = /^[0-9a-f]{32}$/

function parseOurs<T extends string>(kind: string, text: string): Branded<T> {
  if (!ours.test(text)) throw new Fault('invalid', `a ${kind} is 32 hexadecimal digits, not ${quoted(text)}`)
  return text as Branded<T>
}

/** Mesos' rules for ids that a framework chooses (facts on Mesos, 1.0): 1..255 bytes, no `/`, `\`, control characters, `.`, `..`. */
function parseForeign<T extends string>(kind: string, text: string): Branded<T> {
  const bytes = Buffer.byteLength(text)
  const wrong =
    bytes === 0 ||
    bytes > 255 ||
    text === '.' ||
    text === '..' ||
    Buffer.from(text).toString() !== text ||
    /[/\\\p{Cc}]/u.test(text)
  if (wrong) {
    throw new Fault('invalid', `a ${kind} is 1 to 255 bytes without slashes and control characters, not ${quoted(text)}`)
  }
  return text as Branded<T>
}

const quoted = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)

export const clusterId = (text: string): ClusterId => parseOurs('cluster id', text)
export const nodeId = (text: string): NodeId => parseOurs('node id', text)
export const containerId = (text: string): ContainerId => parseOurs('container id', text)
export const isContainerId = (text: string): text is ContainerId => ours.test(text)
export const frameworkId = (text: string): FrameworkId => parseForeign('framework id', text)
export const taskId = (text: string): TaskId => parseForeign('task id', text)

/** Everybody's role, of tasks that name none. */
export const anyRole = '*' as Role

const rolePart = /^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/

/** Mesos' rules for roles, letters reduced to those that need no quoting: `*`, or parts joined by slashes, as in `shop/web`. */
export function role(text: string): Role {
  if (text === anyRole) return anyRole
  const parts = text.split('/')
  if (text.length > 255 || !parts.every((part) => rolePart.test(part) && part !== '.' && part !== '..')) {
    const parts = 'one or several parts of letters, digits, _, - and . joined by /, none of which begins with - or is . or ..'
    throw new Fault('invalid', `a role is * or ${parts}, at most 255 characters in all, not ${quoted(text)}`)
  }
  return text as Role
}

export const newClusterId = (): ClusterId => randomId() as ClusterId
export const newNodeId = (): NodeId => randomId() as NodeId
export const newContainerId = (): ContainerId => randomId() as ContainerId
