import type { Exec } from '../../base/exec.ts'
import { missingProgram } from './exec.ts'

/** The first line of `--version`, or why there is none. */
export type ProgramVersion = { readonly version: string } | { readonly missing: string }

export type RuntimeProgram = 'runc' | 'crun' | 'conmon'
export type ProgramVersions = Readonly<Record<RuntimeProgram, ProgramVersion>>

const patienceS = 10

/**
 * One shell asks them all: each program that Node itself starts holds the main thread for milliseconds. Of each come its name, its
 * exit code and what it said, with a NUL behind each of the three: less than a pipe takes in one piece (pipe(7), "PIPE_BUF").
 */
const script = `for p do
{ said=$(timeout -k 1 ${patienceS} "$p" --version 2>&1); printf '%s\\0%s\\0%.900s\\0' "$p" "$?" "$said"; } &
done
wait`

/** Asks each program that a container needs for its version, all at once. Rejects only when the signal aborts, or without a shell. */
export async function askVersions(
  exec: Exec,
  programs: Readonly<Record<RuntimeProgram, string>>,
  signal: AbortSignal
): Promise<ProgramVersions> {
  const { runc, crun, conmon } = programs
  const { stdout } = await exec.run('sh', ['-c', script, 'sh', runc, crun, conmon], { timeoutMs: 2_000 * patienceS }, signal)
  const answers = stdout.split('\0')
  const of = (name: RuntimeProgram): ProgramVersion => {
    const program = programs[name]
    const at = answers.indexOf(program)
    return at < 0
      ? { missing: `${program} --version gave no answer` }
      : understood(program, answers[at + 1], answers[at + 2] ?? '')
  }
  return { runc: of('runc'), crun: of('crun'), conmon: of('conmon') }
}

/** Exit codes 124, 126 and 127 are those of timeout(1). */
function understood(program: string, code: string | undefined, said: string): ProgramVersion {
  const line = said.trim().split('\n', 1)[0] ?? ''
  if (code === '0') return { version: line }
  if (code === '127') return { missing: missingProgram(program).message }
  if (code === '124') return { missing: `${program} --version did not end within ${patienceS} s` }
  return { missing: `${program} --version ended with ${code}: ${line}` }
}
