import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { errnoOf, Fault } from '../../base/fault.ts'

export interface RunResult {
  /** One sentence for each broken invariant; none: the run is clean. */
  readonly violations: readonly string[]
  /** What the run did, to be summed up. */
  readonly counts: Readonly<Record<string, number>>
}

export interface FinishedRun extends RunResult {
  readonly name: string
  readonly tookMs: number
}

/** What finished runs belong to. */
export interface ResumeKey {
  readonly campaign: string
  readonly commit: string
  /** Digest of the programs under test and of what makes and judges the runs (code-digest.ts), not of the whole commit. */
  readonly code: string
  readonly configuration: Readonly<Record<string, string | number | boolean>>
}

/**
 * The file of `--resume`: a line with the key, then a line for each finished run. `finished` is what may be counted; where it had
 * to be discarded, `discarded` says why.
 */
export class ResumeFile {
  readonly finished: readonly FinishedRun[]
  readonly discarded: string | undefined
  readonly #path: string | undefined

  private constructor(path: string | undefined, finished: readonly FinishedRun[], discarded: string | undefined) {
    this.#path = path
    this.finished = finished
    this.discarded = discarded
  }

  /** Without a path nothing is kept. Throws `Fault('invalid')` for a file that is something else. */
  static open(path: string | undefined, key: ResumeKey): ResumeFile {
    if (path === undefined) return new ResumeFile(path, [], undefined)
    const old = existsSync(path) ? read(path) : undefined
    const why = old === undefined ? undefined : difference(old.key, key)
    if (old !== undefined && why === undefined) {
      begin(path, [key, ...old.runs])
      return new ResumeFile(path, old.runs, undefined)
    }
    begin(path, [key])
    const discarded = old === undefined ? undefined : `${old.runs.length} finished runs in ${path} are discarded: ${why}`
    return new ResumeFile(path, [], discarded)
  }

  readonly keep = (run: FinishedRun): void => {
    if (this.#path !== undefined) appendFileSync(this.#path, lines([run]))
  }
}

function begin(path: string, rows: readonly unknown[]): void {
  try {
    writeFileSync(path, lines(rows))
  } catch (cause) {
    throw new Fault('invalid', `--resume: ${path} cannot be written (${errnoOf(cause) ?? String(cause)})`, {}, cause)
  }
}

/** A commit that leaves the programs as they are keeps the runs. */
function difference(old: ResumeKey, now: ResumeKey): string | undefined {
  if (old.campaign !== now.campaign) return `they are of the campaign ${old.campaign}`
  if (old.code !== now.code) return `the code under test has changed (commit ${old.commit}, now ${now.commit})`
  const [before, after] = [JSON.stringify(old.configuration), JSON.stringify(now.configuration)]
  return before === after ? undefined : `the configuration was ${before}, now ${after}`
}

/** Half a last line is that of a campaign that was killed: it does not count. */
function read(path: string): { readonly key: ResumeKey; readonly runs: readonly FinishedRun[] } {
  const text = readFileSync(path, 'utf8')
  const [first = '', ...rest] = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  try {
    const key = JSON.parse(first) as ResumeKey
    if (typeof key.campaign !== 'string' || typeof key.code !== 'string') throw new Error('no key')
    return { key, runs: rest.filter(Boolean).map((line) => JSON.parse(line) as FinishedRun) }
  } catch (cause) {
    throw new Fault('invalid', `${path} is not a file of --resume; name another one`, {}, cause)
  }
}

const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
