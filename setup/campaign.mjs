// npm run campaign: builds the programs and the campaigns, and runs the one that is asked for against what dist/ holds.
import { bootstrap, describeMissing, giveUp, installTools } from './bootstrap.mjs'
import { runBundled } from './run-bundled.mjs'

bootstrap()
const missing = installTools('run')
if (missing.length > 0) giveUp(describeMissing(missing))
const { build } = await import('./build.mjs')
await build()
await runBundled('campaign', 'test/campaign/main.ts', process.argv.slice(2))
