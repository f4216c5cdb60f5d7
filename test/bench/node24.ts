import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Plain JavaScript, shared with `npm run package`. */
interface NodeRuntime {
  findNodeRuntime(): { readonly program?: string; readonly failure?: string }
}

/** Node 24's own program out of its npm package, kept in .cache; undefined where it cannot be had. */
export async function findNode24(root: string): Promise<string | undefined> {
  const runtime = (await import(pathToFileURL(join(root, 'setup/node-runtime.mjs')).href)) as NodeRuntime
  const { program, failure } = runtime.findNodeRuntime()
  if (failure !== undefined) process.stderr.write(`hearth: no figures on Node 24: ${failure}\n`)
  return program
}
