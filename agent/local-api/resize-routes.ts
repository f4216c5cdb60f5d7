import { Fault } from '../../base/fault.ts'
import { decodeMessage } from '../../proto/codec.ts'
import type { LocalResponse } from '../ports.ts'
import type { Resizes } from '../resizes.ts'
import { jsonResponse } from './responses.ts'
import type { RouteCall } from './router.ts'
import { type LocalTasks, taskOf } from './task-routes.ts'

/** agent/resizes.ts */
export type ResizeSource = Pick<Resizes, 'apply'>

const maxBodyBytes = 64 * 1024

/** `POST /v1/tasks/FRAMEWORK/TASK/limits`, the body an encoded `Resize`: what the task has from now on. */
export function resizeRoutes(
  tasks: LocalTasks,
  resizes: ResizeSource
): readonly (readonly [string, string, (call: RouteCall) => Promise<LocalResponse>])[] {
  return [
    [
      'POST',
      '/v1/tasks/:framework/:task/limits',
      async (call) => {
        const resize = decodeMessage('Resize', await bodyOf(call))
        return jsonResponse(200, await resizes.apply(taskOf(tasks, call), resize, call.signal))
      }
    ]
  ]
}

async function bodyOf({ request }: RouteCall): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of request.body) {
    bytes += chunk.length
    if (bytes > maxBodyBytes) throw new Fault('invalid', `a change of limits has at most ${maxBodyBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
