import { spawnSync } from 'node:child_process'
import { PassThrough } from 'node:stream'
import t from 'tap'
import { scriptFor } from '../../cli/completion-script.ts'
import { createContext } from '../../cli/context.ts'
import { allCommands, buildProgram } from '../../cli/program.ts'

const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
const program = buildProgram(createContext({}, streams, new AbortController().signal), () => undefined)
const bash = scriptFor('bash', program) ?? ''

/** What a bash with our script offers for the words, the last of which is under the cursor. */
function complete(...words: string[]): readonly string[] {
  const script = `${bash}
hearth() { case "$1" in task) echo task-one ;; image) echo image-one ;; esac; }
COMP_WORDS=(${words.map((w) => `'${w}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_hearth; printf '%s\\n' "\${COMPREPLY[@]}"`
  const run = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
  if (run.stderr !== '') throw new Error(run.stderr)
  return run.stdout.split('\n').filter((line) => line !== '')
}

t.test('bash takes the script', async (t) => {
  t.match(spawnSync('bash', ['-n'], { input: bash, encoding: 'utf8' }), { status: 0, stderr: '' })
})

t.test('bash completes commands, subcommands and options', async (t) => {
  t.strictSame(complete('hearth', 'ta'), ['task'])
  t.strictSame(complete('hearth', 'task', 'ru'), ['run'])
  t.strictSame(complete('hearth', 'task', 'run', '--rest'), ['--restart', '--restart-delay'])
  t.strictSame(complete('hearth', 'image', 'import', '--k'), ['--kind'])
  t.strictSame(complete('hearth', 'completion', 'z'), ['zsh'])
  t.strictSame(complete('hearth', '--state-dir', '/x', 'node', 'sh'), ['show'])
  t.strictSame(complete('hearth', 'nonsense', 'x'), [])
})

t.test('bash completes the ids of tasks', async (t) => {
  t.strictSame(complete('hearth', 'task', 'logs', 'task-'), ['task-one'])
  t.strictSame(complete('hearth', 'task', 'ls', 'task-'), [])
})

t.test('bash completes the values of options and the names of images', async (t) => {
  t.strictSame(complete('hearth', 'task', 'run', '--network', ''), ['host', 'none'])
  t.strictSame(complete('hearth', 'task', 'run', '--runtime', 'c'), ['crun'])
  t.strictSame(complete('hearth', 'image', 'import', '--kind', 'ro'), ['rootfs'])
  t.strictSame(complete('hearth', 'task', 'run', 'ima'), ['image-one'])
  t.strictSame(complete('hearth', 'image', 'rm', 'ima'), ['image-one'])
})

t.test('fish is told the same', async (t) => {
  const fish = scriptFor('fish', program) ?? ''
  t.match(fish, /= 'task run'" -l network -x -a 'host none'/)
  t.match(fish, /= 'task run'" -a '\(hearth image list --quiet/)
})

t.test('every command of the program is in each script', async (t) => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const script = scriptFor(shell, program) ?? ''
    for (const command of allCommands(program)) t.ok(script.includes(command.name()), `${shell}: ${command.name()}`)
  }
  t.equal(scriptFor('tcsh', program), undefined)
})

t.test('every option of every command has words that explain it', async (t) => {
  for (const command of allCommands(program)) {
    t.not(command.description() || command.parent?.name(), '', command.name())
    for (const option of command.options) t.not(option.description, '', `${command.name()} ${option.flags}`)
  }
})
