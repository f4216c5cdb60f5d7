import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * One execution of a task's program, as the program itself left it in the file `<marksDir>/<container id>`, outside of the
 * agent's reach. Each line is one append:
 *
 *   start WHAT      first thing the program does; WHAT tells this process from any other (its line in /proc/self/stat)
 *   end CODE [N]    last thing before it exits by itself; N: lines it wrote to its standard output
 */
export interface Execution {
  readonly who: string
  readonly exitCode?: number
  readonly lines?: number
}

/** The shell lines that leave the marks; `body` may set `$code` and `$lines`. Builtins of sh only: no process of its own. */
export const markedProgram = (marksMount: string, body: string): string =>
  [
    `m=${marksMount}/$HEARTH_CONTAINER_ID`,
    'read -r who < /proc/self/stat',
    'echo "start $who" >> "$m"',
    'code=0 lines=',
    body,
    'echo "end $code $lines" >> "$m"',
    'exit $code'
  ].join('\n')

export function readMarks(marksDir: string): ReadonlyMap<string, readonly Execution[]> {
  return new Map(readdirSync(marksDir).map((id) => [id, executionsOf(readFileSync(join(marksDir, id), 'utf8'))]))
}

/** An end belongs to the execution that began last: only where two run side by side can that be wrong, which is found anyway. */
export function executionsOf(text: string): readonly Execution[] {
  const found: Execution[] = []
  for (const line of text.split('\n').filter(Boolean)) {
    const [word, ...rest] = line.split(' ')
    const last = found.at(-1)
    if (word === 'start') found.push({ who: startTicksOf(rest.join(' ')) })
    else if (word === 'end' && last !== undefined) {
      const [code = '', lines = ''] = rest
      found[found.length - 1] = { ...last, exitCode: Number(code), ...(lines === '' ? {} : { lines: Number(lines) }) }
    }
  }
  return found
}

/** Field 22 of /proc/PID/stat (proc(5)), counted behind the name in parentheses. */
const startTicksOf = (stat: string): string => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? stat
