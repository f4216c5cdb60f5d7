import { isFirstOfNamespace, isInCgroup, type ProcessFacts, readProcess } from './oci/process-table.ts'

/**
 * The container's first process: the one in the pid file, if it sits in the container's cgroup (a pid alone may since belong to
 * any other process), else the one in the cgroup that is the first of its namespace.
 */
export function findFirst(
  written: number | undefined,
  containerId: string,
  inCgroup: () => readonly number[]
): { readonly first: ProcessFacts | undefined; readonly inside: boolean } {
  const named = written !== undefined && isInCgroup(written, containerId) ? readProcess(written) : undefined
  if (named !== undefined) return { first: named, inside: true }
  const living = inCgroup().flatMap((pid) => readProcess(pid) ?? [])
  const firsts = living.filter(({ pid }) => isFirstOfNamespace(pid))
  return { first: firsts.length === 1 ? firsts[0] : undefined, inside: living.length > 0 }
}
