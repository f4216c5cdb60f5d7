import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseScenario } from './format.ts'
import { rewriteScenario, runScenario } from './run.ts'

const own = join(dirname(fileURLToPath(import.meta.url)), 'own')
const files = readdirSync(own).map((file) => ({ file, text: readFileSync(join(own, file), 'utf8') }))

t.test('a case is a directive, its input and what is expected', async (t) => {
  const [first, second] = parseScenario(
    '# why\n\nadd-nodes 3 voters=(1, 2,3) index=10 \\\n  prevote=true\nline one\nline two\n----\na\nb\n\nstatus 1\n----\n----\nx\n\ny\n----\n----\n'
  )
  t.match(first, {
    line: 3,
    command: 'add-nodes',
    args: [
      { key: '3', values: [] },
      { key: 'voters', values: ['1', '2', '3'] },
      { key: 'index', values: ['10'] },
      { key: 'prevote', values: ['true'] }
    ],
    input: 'line one\nline two',
    expected: 'a\nb'
  })
  t.match(second, { command: 'status', expected: 'x\n\ny' })
})

t.test('a line that is changed, missing or too much is found in every one of our scenarios', async (t) => {
  for (const { file, text } of files) {
    const lines = text.split('\n')
    const at = lines.findLastIndex((line) => /^( *\d+->\d+ Msg|\d+: State|\d+\/\d+ Entry| *ReadStates|raft proposal)/.test(line))
    t.ok(at > 0, `${file} has a line of protocol`)
    const changed = [...lines.slice(0, at), `${lines[at]}x`, ...lines.slice(at + 1)]
    const missing = [...lines.slice(0, at), ...lines.slice(at + 1)]
    const tooMuch = [...lines.slice(0, at), lines[at] ?? '', ...lines.slice(at)]
    for (const broken of [changed, missing, tooMuch]) {
      t.not(runScenario(file, broken.join('\n')).deviation, undefined, file)
    }
  }
})

t.test('log lines are not compared, all others are', async (t) => {
  const scenario = (expected: string): string => `add-nodes 1 voters=(1) index=3\n----\n${expected}\n`
  t.equal(runScenario('a', scenario('INFO 1 became follower at term 0')).deviation, undefined)
  t.equal(runScenario('a', scenario('ok')).deviation, undefined)
  t.match(runScenario('a', scenario('1 became follower')).deviation, { line: 1, actual: 'ok' })
  t.match(runScenario('a', scenario('')).deviation, { line: 1, actual: 'ok' })
})

t.test('what the adapter does not understand is refused with the line', async (t) => {
  const refusals: readonly (readonly [text: string, reason: RegExp])[] = [
    ['fly 1\n----\nok\n', /line 1: unknown command fly/],
    ['\nadd-nodes 1 colour=red\n----\nok\n', /line 2: unknown setting colour/],
    ['campaign 7\n----\nok\n', /line 1: there is no node 7/],
    ['campaign one\n----\nok\n', /"one" is no number/],
    ['campaign 1\nok\n', /line 1: no ---- after the command/],
    ['# nothing\n', /no cases/],
    ['vote cfg=(1,2) votes=(y)\n----\nVoteWon\n', /1 values for 2 voters/],
    ['log-level loud\n----\nok\n', /there is no log level loud/]
  ]
  for (const [text, reason] of refusals) t.match(runScenario('a', text).refused, reason)
})

t.test('a rewritten scenario is the same as one that passes', async (t) => {
  for (const { file, text } of files.slice(0, 5)) {
    t.equal(rewriteScenario(text), text, file)
    t.equal(rewriteScenario(text.replaceAll('Term:1', 'Term:9')), text, `${file} with other expectations`)
  }
})
