#!/usr/bin/env node
// Starts agent.cjs beside it with the machine code of an earlier run: compiling is a third of what a start costs. The cache lies
// beside the program, bound to this very file; V8 itself refuses one of another version or other flags. Without one, or where
// none can be written, the agent starts all the same.
'use strict'
const { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { constants, Script } = require('node:vm')

const writeAfterMs = 5_000
const program = join(__dirname, 'agent.cjs')
const { size, mtimeMs, ctimeMs, ino } = statSync(program)
const stamp = `${process.version} ${size} ${mtimeMs} ${ctimeMs} ${ino}\n`
const path = join(__dirname, 'agent.cache')

function readCache() {
  try {
    const bytes = readFileSync(path)
    return bytes.subarray(0, stamp.length).toString() === stamp ? bytes.subarray(stamp.length) : undefined
  } catch {
    return undefined // the first start of this version
  }
}

function writeCache(script) {
  const draft = `${path}.${process.pid}`
  try {
    writeFileSync(draft, Buffer.concat([Buffer.from(stamp), script.createCachedData()]), { mode: 0o600 })
    renameSync(draft, path)
  } catch {
    try {
      unlinkSync(draft) // a disk that is full or read-only: the next start compiles again
    } catch {
      // it was never made
    }
  }
}

const source = readFileSync(program, 'utf8').replace(/^#!.*/, '')
const cachedData = readCache()
const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
  filename: program,
  ...(cachedData === undefined ? {} : { cachedData }),
  ...(constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER === undefined
    ? {}
    : { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER })
})
const main = { exports: {} }
script.runInThisContext()(main.exports, require, main, program, __dirname)
// After the start, when the functions that a start needs have been compiled.
if (cachedData === undefined || script.cachedDataRejected) setTimeout(() => writeCache(script), writeAfterMs).unref()
