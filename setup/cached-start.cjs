#!/usr/bin/env node
// Starts the program beside it with the machine code of earlier runs: compiling is a third of what a start costs. The cache of
// each version of Node lies beside the program, bound to this very file; V8 itself refuses one that was made with other flags.
// Without one, or where none can be written, the program starts all the same.
'use strict'
const { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { constants, Script } = require('node:vm')

/** A daemon leaves its code behind once, when it has started; commands each run code of their own: the first ones add theirs. */
const name = 'agent' // the build puts the program's name here
const [writeAfterMs, runs] = name === 'agent' ? [5_000, 1] : [undefined, 12]
const program = join(__dirname, `${name}.cjs`)
const { size, mtimeMs, ctimeMs, ino } = statSync(program)
const stamp = `${size} ${mtimeMs} ${ctimeMs} ${ino}\n`
const path = join(__dirname, `${name}-${process.versions.node}.cache`)

/** One byte before the code counts the runs that it comes from. */
function readCache() {
  try {
    const bytes = readFileSync(path)
    const isOurs = bytes.subarray(0, stamp.length).toString() === stamp
    return isOurs ? { runs: bytes[stamp.length], code: bytes.subarray(stamp.length + 1) } : undefined
  } catch {
    return undefined // the first start of this version, or the cache of another user
  }
}

function writeCache(script, runs) {
  const draft = `${path}.${process.pid}`
  try {
    writeFileSync(draft, Buffer.concat([Buffer.from(stamp), Buffer.of(runs), script.createCachedData()]), { mode: 0o644 })
    renameSync(draft, path)
  } catch {
    try {
      unlinkSync(draft) // a disk that is full or read-only: the next start compiles again
    } catch {
      // it was never made
    }
  }
}

// Code that comes out of the cache has lost its way to import(), whatever it was compiled with: it borrows ours (isolators/load.ts).
globalThis.hearthImport = (url) => import(url)

const source = readFileSync(program, 'utf8').replace(/^#!.*/, '')
const cached = readCache()
const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
  filename: program,
  ...(cached === undefined ? {} : { cachedData: cached.code }),
  ...(constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER === undefined
    ? {}
    : { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER })
})
const main = { exports: {} }
script.runInThisContext()(main.exports, require, main, program, __dirname)
const before = cached === undefined || script.cachedDataRejected ? 0 : cached.runs
// After the start, when the functions that a start needs have been compiled.
if (before < runs) {
  if (writeAfterMs === undefined) process.once('exit', () => writeCache(script, before + 1))
  else setTimeout(() => writeCache(script, before + 1), writeAfterMs).unref()
}
