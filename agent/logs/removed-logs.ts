import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from '../../base/replace-file.ts'
import type { Removal } from './kept-log.ts'

interface RemovedLog {
  readonly frameworkId: string
  readonly taskId: string
  readonly why: Removal
  /** Wall time. */
  readonly goneAtMs: number
}

/** The latest are remembered. */
const mostRows = 1_000

/** Logs that are kept no longer, so that who asks for one is told so; `removed.json` beside those that are kept. */
export class RemovedLogs {
  readonly #config: { readonly directory: string; readonly keepMs: number; readonly maxBytes: number }
  #rows: readonly RemovedLog[] | undefined

  constructor(config: { readonly directory: string; readonly keepMs: number; readonly maxBytes: number }) {
    this.#config = config
  }

  async add(removed: readonly RemovedLog[]): Promise<void> {
    const rows = removed.map(({ frameworkId, taskId, why, goneAtMs }) => ({ frameworkId, taskId, why, goneAtMs }))
    const all = new Map([...(await this.#known()), ...rows].map((row) => [keyOf(row), row]))
    const next = [...all.values()].slice(-mostRows)
    await replaceFile(this.#path, `${JSON.stringify(next)}\n`)
    this.#rows = next
  }

  async why(frameworkId: string, taskId: string): Promise<string | undefined> {
    const row = (await this.#known()).find((r) => keyOf(r) === keyOf({ frameworkId, taskId }))
    if (row === undefined) return undefined
    const { keepMs, maxBytes } = this.#config
    const policy =
      row.why === 'age'
        ? `this node keeps them for ${keepMs / 3_600_000} h after the task is removed (kept-log-hours)`
        : `this node keeps ${Math.round(maxBytes / 1024 ** 2)} MiB of removed tasks (kept-log-mib), the newest ones`
    return `the logs of task ${taskId} are no longer kept: they were removed at ${new Date(row.goneAtMs).toISOString()}; ${policy}`
  }

  get #path(): string {
    return join(this.#config.directory, 'removed.json')
  }

  async #known(): Promise<readonly RemovedLog[]> {
    if (this.#rows === undefined) {
      const text = await readFile(this.#path, 'utf8').catch(() => '') // none was ever removed
      this.#rows = parseRows(text)
    }
    return this.#rows
  }
}

const keyOf = ({ frameworkId, taskId }: Pick<RemovedLog, 'frameworkId' | 'taskId'>): string => `${frameworkId}/${taskId}`

/** Rows that are none of ours are left out: any byte of the file may be wrong. */
function parseRows(text: string): readonly RemovedLog[] {
  try {
    const rows: unknown = JSON.parse(text)
    return Array.isArray(rows) ? rows.filter(isRow) : []
  } catch {
    return []
  }
}

function isRow(row: unknown): row is RemovedLog {
  if (typeof row !== 'object' || row === null) return false
  const { frameworkId, taskId, why, goneAtMs } = row as Readonly<Record<string, unknown>>
  const isTime = Number.isSafeInteger(goneAtMs) && Math.abs(goneAtMs as number) < 8.64e15
  return typeof frameworkId === 'string' && typeof taskId === 'string' && (why === 'age' || why === 'room') && isTime
}
