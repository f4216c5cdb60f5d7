// The hooks of typescript-hook.mjs, in the thread that Node runs hooks in. What came of a file is kept below .cache, headed by the
// digest of its source, so that only the first run after a change pays.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = join(import.meta.dirname, '../.cache/typescript')
mkdirSync(folder, { recursive: true })
const target = 'node20.19'
let esbuild

export async function load(url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return next(url, context)
  const path = fileURLToPath(url)
  const source = readFileSync(path)
  const banner = `// ${createHash('sha256').update(target).update(source).digest('hex')}`
  const kept = join(folder, createHash('sha256').update(path).digest('hex'))
  return { format: 'module', shortCircuit: true, source: read(kept, banner) ?? (await strip(path, source, kept, banner)) }
}

function read(path, banner) {
  try {
    const code = readFileSync(path, 'utf8')
    return code.startsWith(`${banner}\n`) ? code : undefined
  } catch {
    return undefined
  }
}

async function strip(path, source, kept, banner) {
  esbuild ??= await import('esbuild')
  const options = { loader: 'ts', format: 'esm', target, banner, sourcefile: path, sourcemap: 'inline' }
  const { code } = await esbuild.transform(source, { ...options, sourcesContent: false })
  const draft = `${kept}.${process.pid}`
  writeFileSync(draft, code)
  renameSync(draft, kept)
  return code
}
