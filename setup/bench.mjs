// npm run bench: builds the programs and the bench, and runs it with the arguments given. It measures what dist/ holds.
import { bootstrap, describeMissing, giveUp, installTools } from './bootstrap.mjs'
import { runBundled } from './run-bundled.mjs'

bootstrap()
const missing = installTools('run')
if (missing.length > 0) giveUp(describeMissing(missing))
const args = process.argv.slice(2)
const { build } = await import('./build.mjs')
await build({ partial: args.includes('--partial') })
await runBundled(
  'bench',
  'test/bench/main.ts',
  args.filter((a) => a !== '--partial'),
  [
    { name: 'appender.mjs', source: 'test/bench/appender.ts', format: 'esm' },
    { name: 'agents-swarm.mjs', source: 'test/bench/agents/swarm.ts', format: 'esm' },
    { name: 'raft-member.mjs', source: 'test/bench/raft/member.ts', format: 'esm' },
    { name: 'raft-load.mjs', source: 'test/bench/raft/load.ts', format: 'esm' },
    { name: 'snapshot-run.mjs', source: 'test/bench/snapshot-run.ts', format: 'esm' },
    { name: 'trace-hook.cjs', source: 'test/bench/trace-hook.ts', format: 'cjs' },
    { name: 'start-hook.cjs', source: 'test/bench/start-hook.ts', format: 'cjs' }
  ]
)
