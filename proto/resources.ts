import { Fault } from '../base/fault.ts'
import { completeMessage, type Init } from './codec.ts'
import type { Range, Resource } from './gen/messages.ts'

export type Resources = readonly Resource[]

/** Names whose scalar counts bytes; all others count thousandths. */
const inBytes: ReadonlySet<string> = new Set(['mem', 'disk'])
const mebibyte = 1024 * 1024

export const scalar = (name: string, amount: number, more: Init<Resource> = {}): Resource =>
  completeMessage('Resource', { ...more, name, kind: 'scalar', scalar: amount })

export const ranges = (name: string, spans: readonly Range[], more: Init<Resource> = {}): Resource =>
  completeMessage('Resource', { ...more, name, kind: 'ranges', ranges: unite(spans) })

export const items = (name: string, names: readonly string[], more: Init<Resource> = {}): Resource =>
  completeMessage('Resource', { ...more, name, kind: 'set', items: [...new Set(names)].sort() })

/** `a + b`. What differs in anything but its value stays apart; empty values vanish. */
export function addResources(a: Resources, b: Resources): Resources {
  const sum = new Map<string, Resource>()
  for (const r of [...a, ...b]) {
    checkResource(r)
    const key = identity(r)
    const held = sum.get(key)
    sum.set(key, held === undefined ? r : combine(held, r, 'add'))
  }
  return tidy(sum.values())
}

/** `a - b`. Throws `Fault('invalid')` unless `a` contains `b`: there are no negative resources. */
export function subtractResources(a: Resources, b: Resources): Resources {
  if (!containsResources(a, b)) throw new Fault('invalid', `${describeResources(a)} does not hold ${describeResources(b)}`)
  const rest = new Map(addResources(a, []).map((r) => [identity(r), r]))
  for (const r of addResources([], b)) {
    const held = rest.get(identity(r))
    if (held !== undefined) rest.set(identity(r), combine(held, r, 'subtract'))
  }
  return tidy(rest.values())
}

/** Whether every part of `b` is found in `a` under the same reservations, disk and flags. */
export function containsResources(a: Resources, b: Resources): boolean {
  const have = new Map(addResources(a, []).map((r) => [identity(r), r]))
  return addResources([], b).every((r) => {
    const held = have.get(identity(r))
    return held !== undefined && covers(held, r)
  })
}

/** The sum of the named scalar over all its forms: thousandths, or bytes for `mem` and `disk`. */
export const scalarOf = (resources: Resources, name: string): number =>
  resources.reduce((sum, r) => (r.name === name && r.kind === 'scalar' ? sum + r.scalar : sum), 0)

/** For people: `cpus 0.5, memory 64 MB, ports 31000-32000`. */
export function describeResources(resources: Resources): string {
  if (resources.length === 0) return 'nothing'
  return resources
    .map((r) => `${r.name === 'mem' ? 'memory' : r.name} ${describeValue(r)}${r.revocable ? ' (revocable)' : ''}`)
    .join(', ')
}

/** Mesos' double: MB for `mem` and `disk`, units otherwise, rounded to thousandths as Mesos does. */
export function toMesosScalar(r: Resource): number {
  const value = inBytes.has(r.name) ? r.scalar / mebibyte : r.scalar / 1000
  return Math.round(value * 1000) / 1000
}

/** Our integer for Mesos' double. Throws `Fault('invalid')` for what is negative, not finite or too large. */
export function fromMesosScalar(name: string, value: number): number {
  const amount = Math.round(inBytes.has(name) ? value * mebibyte : value * 1000)
  if (!Number.isSafeInteger(amount) || amount < 0) throw new Fault('invalid', `${name} cannot be ${value}`)
  return amount
}

/** Throws `Fault('invalid')` for a resource with no name, no kind, a negative amount or a range that ends before it begins. */
export function checkResource(r: Resource): void {
  if (r.name === '') throw new Fault('invalid', 'a resource needs a name')
  if (r.kind === 'unspecified_kind') throw new Fault('invalid', `resource ${r.name} needs a kind: scalar, ranges or set`)
  if (!Number.isSafeInteger(r.scalar) || r.scalar < 0) throw new Fault('invalid', `${r.name} cannot be ${r.scalar}`)
  const wrong = r.ranges.find((s) => s.begin < 0 || s.end < s.begin)
  if (wrong !== undefined) throw new Fault('invalid', `${r.name} has the range ${wrong.begin}-${wrong.end}`)
}

/** Everything but the value: two resources of one identity are added up, others stand side by side. */
function identity(r: Resource): string {
  const stack = r.reservations.map((v) => [v.role, v.principal, v.labels.map((l) => [l.key, l.value])])
  const disk = r.disk === null ? null : [r.disk.persistenceId, r.disk.source]
  return JSON.stringify([r.name, r.kind, stack, disk, r.revocable, r.shared, r.providerId])
}

function combine(a: Resource, b: Resource, how: 'add' | 'subtract'): Resource {
  switch (a.kind) {
    case 'scalar': {
      const sum = how === 'add' ? a.scalar + b.scalar : a.scalar - b.scalar
      if (!Number.isSafeInteger(sum)) throw new Fault('invalid', `${a.name} grows beyond 2^53`)
      return { ...a, scalar: sum }
    }
    case 'ranges':
      return { ...a, ranges: how === 'add' ? unite([...a.ranges, ...b.ranges]) : without(a.ranges, b.ranges) }
    case 'set': {
      const taken = new Set(b.items)
      const names = how === 'add' ? [...a.items, ...b.items] : a.items.filter((i) => !taken.has(i))
      return { ...a, items: [...new Set(names)].sort() }
    }
    case 'unspecified_kind':
      throw new Fault('invalid', `resource ${a.name} needs a kind: scalar, ranges or set`)
  }
}

function covers(a: Resource, b: Resource): boolean {
  if (b.kind === 'scalar') return a.scalar >= b.scalar
  if (b.kind === 'ranges') return unite(b.ranges).every((s) => unite(a.ranges).some((h) => h.begin <= s.begin && h.end >= s.end))
  return b.items.every((i) => a.items.includes(i))
}

/** Sorted, without overlap, neighbours joined. */
function unite(spans: readonly Range[]): Range[] {
  const out: Range[] = []
  for (const s of [...spans].sort((x, y) => x.begin - y.begin)) {
    const last = out.at(-1)
    if (last !== undefined && s.begin <= last.end + 1) out[out.length - 1] = { begin: last.begin, end: Math.max(last.end, s.end) }
    else out.push({ begin: s.begin, end: s.end })
  }
  return out
}

function without(from: readonly Range[], taken: readonly Range[]): Range[] {
  let rest = unite(from)
  for (const t of taken) {
    rest = rest.flatMap((s) => {
      if (t.end < s.begin || t.begin > s.end) return [s]
      const left = { begin: s.begin, end: t.begin - 1 }
      const right = { begin: t.end + 1, end: s.end }
      return [left, right].filter((piece) => piece.begin <= piece.end)
    })
  }
  return rest
}

const isEmpty = (r: Resource): boolean => r.scalar === 0 && r.ranges.length === 0 && r.items.length === 0

function tidy(resources: Iterable<Resource>): Resources {
  return [...resources]
    .map((r) => (r.kind === 'ranges' ? { ...r, ranges: unite(r.ranges) } : r))
    .filter((r) => !isEmpty(r))
    .sort((a, b) => (identity(a) < identity(b) ? -1 : 1))
}

function describeValue(r: Resource): string {
  if (r.kind === 'ranges') return r.ranges.map((s) => `${s.begin}-${s.end}`).join(',')
  if (r.kind === 'set') return `{${r.items.join(',')}}`
  return inBytes.has(r.name) ? describeBytes(r.scalar) : String(r.scalar / 1000)
}

/** Binary multiples, to a tenth: `64 MB`, `1.5 GB`. */
function describeBytes(bytes: number): string {
  const units = ['MB', 'GB', 'TB', 'PB']
  let value = bytes / mebibyte
  let step = 0
  while (value >= 1024 && step < units.length - 1) {
    value /= 1024
    step += 1
  }
  return `${Math.round(value * 10) / 10} ${units[step] ?? 'MB'}`
}
