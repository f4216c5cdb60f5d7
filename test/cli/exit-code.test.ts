import t from 'tap'
import { type Ending, outcomeOf } from '../../cli/exit-code.ts'

const rows: readonly (readonly [string, Ending, number, string | RegExp | undefined])[] = [
  ['success is 0', { exitCode: 0, reason: 'exited' }, 0, undefined],
  ['the program’s code is ours', { exitCode: 7, reason: 'exited' }, 7, undefined],
  ['a signal is 128 and its number', { signal: 15, exitCode: 143, reason: 'signaled' }, 143, undefined],
  ['a null signal is none', { signal: null, exitCode: 3 }, 3, undefined],
  [
    'memory is told, because the program could not',
    { signal: 9, reason: 'limit_memory', message: 'over 64 MB' },
    137,
    'over 64 MB'
  ],
  ['memory without words is told too', { signal: 9, reason: 'limit_memory', message: '' }, 137, 'the task was ended by SIGKILL'],
  ['no such program is 127', { reason: 'program_not_found', message: 'no nonesuch' }, 127, 'no nonesuch'],
  ['no such program without words', { reason: 'program_not_found' }, 127, /does not exist/],
  ['not executable is 126', { reason: 'program_not_executable', message: '' }, 126, /cannot be executed/],
  ['what never ran is 125', { reason: 'image_unknown', message: 'no image x' }, 125, 'no image x'],
  ['what never ran has at least its reason', { reason: 'stage_timeout' }, 125, /stage timeout/]
]

t.test('the command ends as the task did', async (t) => {
  for (const [sentence, ending, code, said] of rows) {
    const outcome = outcomeOf(ending)
    t.equal(outcome.code, code, sentence)
    if (said === undefined) t.notOk(outcome.sentence, sentence)
    else t.match(outcome.sentence, said, sentence)
  }
})
