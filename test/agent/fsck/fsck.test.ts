import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { compare, countOrphans, type Finding, type FsckKind, fsckKinds, type Seen } from '../../../agent/fsck/compare.ts'
import { images, layers } from '../../../agent/fsck/observe-images.ts'
import { planRepair, type RepairRules } from '../../../agent/fsck/plan.ts'
import { judgeOrphans, orphanMetrics } from '../../../agent/fsck/tell.ts'
import { renderMetrics } from '../../../agent/node-health/metrics-text.ts'
import type { LedgerTask } from '../../../agent/ports.ts'
import { completeMessage } from '../../../proto/codec.ts'
import type { ObjectRow, TaskState } from '../../../proto/gen/messages.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'

const id = 'a'.repeat(32)

function task(state: TaskState | undefined, hasObjects = false): LedgerTask {
  const object = completeMessage('ObjectRow', { kind: 'conmon', id, containerId: id, phase: 'done' })
  return {
    row: completeMessage('TaskRow', { containerId: id }),
    kill: null,
    objects: new Map(hasObjects ? [[`conmon:${id}`, object]] : []),
    latest: state === undefined ? null : completeMessage('TaskStatus', { containerId: id, state }),
    unacknowledged: [],
    doubtful: false
  }
}

const one = (kind: FsckKind, more: Partial<Seen> = {}): Seen => ({ kind, id: `/${kind}`, containerId: id, isOurs: true, ...more })
/** These are there for some tasks, or at some moments, only. */
const kernel: readonly FsckKind[] = ['network_namespace', 'link', 'nft_table', 'nft_element', 'loop_device']
const passing: readonly FsckKind[] = ['docker_container', 'exit_file', 'lease', ...kernel]
/** Of no task. */
const store: readonly FsckKind[] = ['layer', 'shifted_view', 'image', 'kept_log']
const all = fsckKinds.filter((kind) => ![...passing, ...store, 'mount'].includes(kind)).map((kind) => one(kind))
const told = (findings: readonly Finding[]): readonly string[] => findings.map((f) => `${f.verdict} ${f.kind}`)
const viewOf = (owned?: LedgerTask) => ({
  tasks: new Map(owned === undefined ? [] : [[id, owned]]),
  objects: new Map<string, ObjectRow>()
})

t.test('a running task owns one of everything', async (t) => {
  t.same(compare(viewOf(task('running', true)), all), [])
  t.same(
    told(compare(viewOf(task('running', true)), [])),
    all.map((s) => `absent ${s.kind}`)
  )
})

t.test('a task of Docker’s is held by a container of Docker’s, and by no monitor', async (t) => {
  const owner = task('running', true)
  const group = completeMessage('TaskGroup', { tasks: [{ taskId: 't', runtime: 'docker' }] })
  const view = viewOf({ ...owner, row: { ...owner.row, group } })
  const held = [...all.filter(({ kind }) => kind !== 'conmon' && kind !== 'runtime_state'), one('docker_container')]
  t.same(compare(view, held), [])
  t.match(told(compare(view, held.slice(0, -1))), ['absent docker_container'])
})

t.test('a task that is being launched or cleaned up owns whatever is there and misses nothing', async (t) => {
  for (const owner of [task(undefined), task('staging'), task('finished', true)]) {
    t.same(compare(viewOf(owner), []), [])
    t.same(compare(viewOf(owner), [...all, ...passing.map((kind) => one(kind))]), [])
  }
})

t.test('an ended task keeps its sandbox and its log, and nothing else', async (t) => {
  const left = compare(viewOf(task('finished')), [...all, ...passing.map((kind) => one(kind))])
  t.same(
    told(left),
    ['cgroup', 'bundle', 'runtime_state', 'conmon', 'docker_container', 'exit_file', 'lease', 'overlay', ...kernel].map(
      (k) => `unowned ${k}`
    )
  )
  t.match(left[0], { why: 'its task has ended and was cleaned up', isOurs: true })
})

t.test('what no row owns is unowned, and a mount is never ours', async (t) => {
  const strange = [...store.map((kind) => one(kind)), one('mount', { isOurs: 'Hearth makes no such mount' })]
  const seen = [...all, ...passing.map((kind) => one(kind)), ...strange]
  t.same(new Set(told(compare(viewOf(), seen))), new Set(fsckKinds.map((k) => `unowned ${k}`)))
  t.same(countOrphans(compare(viewOf(), seen)), Object.fromEntries(fsckKinds.map((k) => [k, 1])))
  t.match(told(compare(viewOf(task('running', true)), seen)), ['unowned mount', ...store.map((kind) => `unowned ${kind}`)])
})

t.test('what belongs to the node and to no task is owned by a row of its own, and the image store by itself', async (t) => {
  const bridge = one('link', { id: 'hth0', containerId: '' })
  const lacks = 'its layer is missing'
  const owned = [one('layer', { containerId: '', isOwned: true }), one('image', { containerId: '', isOwned: true, odd: lacks })]
  const row = completeMessage('ObjectRow', { kind: 'link', id: 'hth0', phase: 'done' })
  const view = { tasks: new Map<string, LedgerTask>(), objects: new Map([['link:hth0', row]]) }
  t.match(compare(view, [bridge, ...owned]), [{ verdict: 'different', kind: 'image', why: lacks }])
  t.same(told(compare(viewOf(), [bridge])), ['unowned link'])
  const stray = compare(viewOf(), [one('layer', { containerId: '', odd: 'no image names it' })])
  t.match(stray, [{ verdict: 'unowned', why: 'no image names it' }])
})

t.test('an owned object that cannot be so is told as different', async (t) => {
  const seen = all.map((s) => (s.kind === 'bundle' ? { ...s, odd: 'its annotations are damaged' } : s))
  t.match(compare(viewOf(task('running', true)), seen), [
    { verdict: 'different', kind: 'bundle', why: 'its annotations are damaged' }
  ])
})

const dead = { isAlive: false, canAdopt: false }
const decide = (kind: FsckKind, facts: { isAlive: boolean; canAdopt: boolean }, rules: RepairRules, more: Partial<Seen> = {}) =>
  planRepair(compare(viewOf(), [one(kind, more)]), () => facts, rules)[0]?.kind

t.test('what runs is adopted where it is proven to be ours, and never removed', async (t) => {
  for (const kind of fsckKinds)
    for (const explicit of [true, false])
      for (const isWhole of [true, false]) {
        t.equal(decide(kind, { isAlive: true, canAdopt: false }, { explicit, isWhole }), 'leave')
        const wanted = kind === 'mount' || kind === 'image' ? 'leave' : 'adopt'
        t.equal(decide(kind, { isAlive: true, canAdopt: true }, { explicit, isWhole }), wanted)
        t.equal(decide(kind, dead, { explicit, isWhole }, { isOurs: 'nothing proves it' }), 'leave')
      }
})

t.test('what is dead goes: boot-bound objects by themselves, files of a task only when asked for', async (t) => {
  const removed = (rules: RepairRules): readonly FsckKind[] => fsckKinds.filter((kind) => decide(kind, dead, rules) === 'remove')
  const bootBound = ['cgroup', 'bundle', 'runtime_state', 'conmon', 'docker_container', 'exit_file', 'lease', ...kernel]
  t.same(removed({ explicit: false, isWhole: true }), bootBound)
  t.same(removed({ explicit: false, isWhole: false }), [], 'the ledger may have had their rows')
  t.same(
    new Set(removed({ explicit: true, isWhole: false })),
    new Set([...bootBound, 'overlay', 'log_file', 'sandbox_dir', 'layer', 'shifted_view', 'kept_log'])
  )
})

t.test('what is absent or different is told and left', async (t) => {
  const findings = compare(viewOf(task('running', true)), [one('bundle', { odd: 'damaged' })])
  t.ok(findings.length > 1)
  t.ok(planRepair(findings, () => dead, { explicit: true, isWhole: true }).every((a) => a.kind === 'leave'))
})

t.test('a scrape and the health report hear of orphans by kind', async (t) => {
  const none = countOrphans([])
  t.match(judgeOrphans(none), { kind: 'orphans', verdict: 'OK' })
  const some = { ...none, cgroup: 2, exit_file: 1 }
  t.match(judgeOrphans(some), { verdict: 'WARNING', reason: /2 cgroup, 1 exit file/, remedy: /--repair/ })
  t.match(renderMetrics(orphanMetrics(some)), /hearth_orphans\{kind="exit_file"\} 1\n/)
})

t.test(
  'any bytes in the image store’s files and in what is kept of logs: the look goes on, and proves nothing by them',
  async (t) => {
    const stateDir = t.testdir()
    const [store, hex] = [join(stateDir, 'agent/images'), 'b'.repeat(64)]
    for (const path of [join(store, 'layers', hex), join(store, 'blobs/sha256')]) mkdirSync(path, { recursive: true })
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((json) => `{"images": ${json}, "rootfs": {"diff_ids": ${json}}}`)
    )
    fc.assert(
      fc.property(text, (bytes) => {
        writeFileSync(join(store, 'images.json'), bytes)
        writeFileSync(join(store, 'blobs/sha256/a'), bytes)
        const [layer] = [...layers({ stateDir })]
        return layer?.id.endsWith(hex) === true && layer.isOwned === undefined && [...images({ stateDir })].length >= 0
      }),
      { numRuns: fuzzRuns(100) }
    )
  }
)
