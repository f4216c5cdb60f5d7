import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { lastLinesOf } from '../logs/last-lines.ts'
import type { LocalResponse } from '../ports.ts'
import { recordName } from '../recorder/recorder.ts'
import { jsonResponse } from './responses.ts'
import type { LocalTask } from './task-routes.ts'

const linesShown = 20
const rowsShown = 200

/**
 * Why a task ended: `{status, lastLines, record}`. `record` is what the flight recorder kept of the time before a failure, rows
 * of one object each; empty for a success and for a task that runs.
 */
export async function explainRoute(task: LocalTask): Promise<LocalResponse> {
  const text = await readFile(join(task.sandboxDir, recordName), 'utf8').catch(() => '') // it did not fail
  const record = text.split('\n').flatMap(parseRow).slice(-rowsShown)
  return jsonResponse(200, { status: task.latest(), lastLines: lastLinesOf(task.logPath, linesShown), record })
}

/** A line that a crash tore is left out. */
function parseRow(line: string): object[] {
  try {
    const row: unknown = JSON.parse(line)
    return typeof row === 'object' && row !== null ? [row] : []
  } catch {
    return []
  }
}
