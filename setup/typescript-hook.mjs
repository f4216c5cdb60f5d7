// Loads the TypeScript of tests and of what they import: types are stripped, nothing is checked (`npm run check` does). Imported
// ahead of tap's own compiler, which takes more than a second of each file and which tap leaves out only on Node 22 and later.
import { register } from 'node:module'

process.env.TAP_TYPE_STRIP_ONLY = '1'
if (process.argv[1]?.endsWith('.ts')) {
  // Programs that a test starts are no tests; those that it starts with its own options are.
  delete process.env.NODE_OPTIONS
  process.execArgv.unshift(`--import=${import.meta.url}`)
  register('./typescript-loader.mjs', import.meta.url)
}
