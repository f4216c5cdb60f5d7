import type { OciMount } from '../../isolators/isolator.ts'
import { type LayerView, openLayerView } from './layer-view.ts'

export type FoundProgram = 'ok' | 'not-found' | 'not-executable' | 'unknown'

/** Whether the runtime will find the program inside the image; `unknown` where the way leads into a mount that is not there yet. */
export async function findProgram(
  program: string,
  pathEnv: string,
  layers: readonly string[],
  mounts: readonly OciMount[]
): Promise<FoundProgram> {
  if (program === '' || program.includes('\0')) return 'not-found'
  const view = await openLayerView(layers, mounts)
  if (program.includes('/')) return judge(view, program)
  let best: FoundProgram = 'not-found'
  for (const folder of pathEnv.split(':')) {
    const found = await judge(view, `${folder === '' ? '.' : folder}/${program}`)
    if (found === 'ok' || found === 'unknown') return found
    if (found === 'not-executable') best = found
  }
  return best
}

async function judge(view: LayerView, path: string): Promise<FoundProgram> {
  const node = await view.lookup(path)
  switch (node.kind) {
    case 'absent':
      return 'not-found'
    case 'unknown':
      return 'unknown'
    case 'file':
      return (node.stats.mode & 0o111) === 0 ? 'not-executable' : 'ok'
    case 'directory':
    case 'symlink':
    case 'other':
      return 'not-executable'
  }
}
