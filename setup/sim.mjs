// npm run sim: runs the Raft core where nothing is real but the core: scenario files and simulations. It needs no build.
import { bootstrap } from './bootstrap.mjs'
import { runBundled } from './run-bundled.mjs'

bootstrap()
await runBundled('sim', 'test/sim/main.ts', process.argv.slice(2))
