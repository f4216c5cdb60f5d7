import type { TaskGroup } from '../../proto/gen/messages.ts'
import { capabilitiesFor } from '../../proto/limits.ts'
import { podCapability } from '../../proto/pods.ts'
import { addResources, type Resources } from '../../proto/resources.ts'
import type { Wanted } from '../placement.ts'
import { decide } from './decide.ts'
import { endingOf, type TaskRecord } from './task-view.ts'

/** A pod is placed as one: its tasks have a wish each, and each names them all. Pure. */

type Known = (taskId: string) => TaskRecord | undefined

/** What waits for a place: one task, or all of a pod. */
export interface Waiting {
  readonly records: readonly TaskRecord[]
  readonly wanted: Wanted
}

const idsOf = ({ taskId, wish }: TaskRecord): readonly string[] => (wish.podTaskIds.length === 0 ? [taskId] : wish.podTaskIds)

/** The others of its pod, as far as they are known. */
export const othersOf = (record: TaskRecord, known: Known): readonly TaskRecord[] =>
  record.wish.podTaskIds.flatMap((id) => (id === record.taskId ? [] : (known(id) ?? [])))

/** Why a task that waits for a node never gets one: another of its pod has ended, or is to end. Undefined where it goes on waiting. */
export function whyPodIsOver(record: TaskRecord, known: Known): string | undefined {
  const gone = othersOf(record, known).find((other) => endingOf(other) !== null || other.wish.kill !== null)
  if (gone === undefined) return undefined
  return `ended with its pod: ${endingOf(gone)?.state === 'killed' || gone.wish.kill !== null ? `the end of ${gone.taskId} was asked for` : `${gone.taskId} could not be launched`}`
}

/** Tasks and pods of which every task wants an offer. */
export function waitingOf(records: Iterable<TaskRecord>, known: Known): readonly Waiting[] {
  return [...records].flatMap((record) => {
    const ids = idsOf(record)
    if (ids[0] !== record.taskId) return []
    const all = ids.flatMap((id) => known(id) ?? [])
    const isComplete = all.length === ids.length && all.every((one) => decide(one).kind === 'launch')
    return isComplete ? [{ records: all, wanted: wantedOf(record, all) }] : []
  })
}

function wantedOf(record: TaskRecord, all: readonly TaskRecord[]): Wanted {
  const needs = new Set(all.flatMap((one) => capabilitiesFor(one.definition)))
  if (all.length > 1) needs.add(podCapability)
  const resources = all.reduce<Resources>((sum, one) => addResources(sum, one.definition.resources), [])
  return {
    key: record.taskId,
    role: record.role,
    resources: all.length === 1 ? record.definition.resources : resources,
    needs: [...needs]
  }
}

/** What is launched for it: the group of its wish, with the tasks of all. */
export function groupOf({ records }: Waiting): TaskGroup | undefined {
  const group = records[0]?.wish.group ?? undefined
  return group && { ...group, tasks: records.map((record) => record.definition) }
}
