import { join } from 'node:path'
import type { LocalResponse } from '../ports.ts'
import { listFiles } from '../sandbox-files/list.ts'
import { readArchive } from '../sandbox-files/read-archive.ts'
import { writeArchive } from '../sandbox-files/write-archive.ts'
import { jsonResponse } from './responses.ts'
import type { RouteCall } from './router.ts'
import type { LocalTask } from './task-routes.ts'

const rootOf = (task: LocalTask): string => join(task.sandboxDir, 'files')
const pathOf = (call: RouteCall): string => call.query.get('path') ?? ''

export async function filesRoute(task: LocalTask, call: RouteCall): Promise<LocalResponse> {
  return jsonResponse(200, await listFiles(rootOf(task), pathOf(call)))
}

export async function archiveOutRoute(task: LocalTask, call: RouteCall): Promise<LocalResponse> {
  const body = await readArchive(rootOf(task), pathOf(call), call.signal)
  return { status: 200, contentType: 'application/x-tar', body }
}

export async function archiveInRoute(task: LocalTask, call: RouteCall): Promise<LocalResponse> {
  return jsonResponse(200, await writeArchive(rootOf(task), pathOf(call), call.request.body, call.signal))
}
