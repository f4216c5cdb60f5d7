import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** All that is kept of one container's output. */
export interface SeenLog {
  readonly stdout: string
  readonly stderr: string
  /** Lines that are no record of the monitor's. */
  readonly foreign: readonly string[]
}

export interface LogFile {
  readonly bytes: Buffer
}

const recordPattern = /^(\S+) (stdout|stderr) ([FP]) ([\s\S]*)$/

export function seeLogs(stateDir: string): ReadonlyMap<string, SeenLog> {
  const sandboxes = join(stateDir, 'agent/sandboxes')
  return new Map(list(sandboxes).map((id) => [id, joinLog(logFiles(join(sandboxes, id)))]))
}

/** Every file of the log, whatever its name: one with two names is one file. */
function logFiles(sandbox: string): readonly LogFile[] {
  const seen = new Set<number>()
  return list(sandbox).flatMap((name): LogFile[] => {
    if (name !== 'log' && !name.startsWith('log.')) return []
    try {
      const path = join(sandbox, name)
      const { ino } = statSync(path)
      if (seen.has(ino)) return []
      seen.add(ino)
      return [{ bytes: readFileSync(path) }]
    } catch {
      return [] // renamed meanwhile: the next observation sees it
    }
  })
}

/**
 * The files in the order of their first record's time, which the one monitor stamps: names may say what they like. k8s-file
 * format: `TIME STREAM F|P TEXT`, where `P` is a piece without the newline.
 */
export function joinLog(files: readonly LogFile[]): SeenLog {
  const texts = files.map(({ bytes }) => bytes.toString('latin1')).filter((text) => text !== '')
  texts.sort((a, b) => (firstWord(a) < firstWord(b) ? -1 : 1))
  const out: Record<'stdout' | 'stderr', string[]> = { stdout: [], stderr: [] }
  const foreign: string[] = []
  for (const line of texts.join('').split('\n')) {
    const record = recordPattern.exec(line)
    if (record !== null) out[record[2] as 'stdout' | 'stderr'].push(record[4] ?? '', record[3] === 'F' ? '\n' : '')
    else if (line !== '') foreign.push(line.slice(0, 100))
  }
  return { stdout: out.stdout.join(''), stderr: out.stderr.join(''), foreign }
}

const firstWord = (text: string): string => text.slice(0, Math.max(0, text.indexOf(' ')))

/**
 * What is wrong with an output of lines that count 1, 2, 3 ... N. `last`: N where it is known; `cut`: old files may have gone by
 * the log's budget, so the first line may be any; a program that was killed may have left half a last line.
 */
export function sequenceProblems(
  text: string,
  wanted: { readonly last: number | undefined; readonly cut: boolean }
): readonly string[] {
  const problems: string[] = []
  const lines = text.split('\n')
  const torn = lines.pop() ?? ''
  if (torn !== '' && wanted.last !== undefined) problems.push(`the last line ${JSON.stringify(torn.slice(0, 40))} has no end`)
  let before = wanted.cut && lines.length > 0 ? Number(lines[0]) - 1 : 0
  for (const line of lines) {
    const number = /^\d+$/.test(line) ? Number(line) : Number.NaN
    if (number === before + 1) {
      before = number
      continue
    }
    if (problems.length > 5) break
    if (Number.isNaN(number)) problems.push(`${JSON.stringify(line.slice(0, 40))} stands after line ${before}`)
    else if (number > before) problems.push(`lines ${before + 1} to ${number - 1} are lost`)
    else problems.push(`line ${number} stands again after line ${before}`)
    before = Number.isNaN(number) ? before + 1 : Math.max(before, number)
  }
  if (wanted.last !== undefined && before < wanted.last) problems.push(`lines ${before + 1} to ${wanted.last} are lost`)
  if (wanted.last !== undefined && before > wanted.last) problems.push(`${before - wanted.last} lines too many`)
  return problems
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // not there
  }
}
