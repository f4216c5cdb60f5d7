import { Linter } from 'eslint'
import t from 'tap'
import tseslint from 'typescript-eslint'

const config = (await import(new URL('../../eslint.config.mjs', import.meta.url).href)) as {
  readonly outsideRules: readonly Linter.Config[]
}
const linter = new Linter()

/** What the lint of the ports says of a file. */
function complaints(file: string, text: string): readonly string[] {
  const parser = { files: ['**/*.ts'], languageOptions: { parser: tseslint.parser as Linter.Parser } }
  return linter.verify(text, [parser, ...config.outsideRules], file).map((m) => `${m.ruleId}: ${m.message}`)
}

const violations: readonly (readonly [sentence: string, file: string, text: string])[] = [
  ['sockets of another module', 'agent/a.ts', "import { createSocket } from 'node:dgram'"],
  ['https beside http', 'agent/a.ts', "import { request } from 'node:https'"],
  ['name service', 'isolators/network/a.ts', "import { lookup } from 'node:dns/promises'"],
  ['threads', 'base/a.ts', "import { Worker } from 'node:worker_threads'"],
  ['a module without its prefix', 'agent/a.ts', "import { createRequire } from 'module'"],
  ['require made by hand', 'agent/a.ts', "import { createRequire } from 'node:module'"],
  ['require itself', 'isolators/a.ts', "const fs = require('fs')"],
  ['an import at run time', 'agent/images/a.ts', "const fs = await import('node:fs')"],
  ['an import at run time of what the file does not hold', 'agent/host/exec.ts', "const fs = await import('node:fs')"],
  ['programs run without the port', 'agent/logs/a.ts', "import { execa } from 'execa'"],
  ['native code in the agent', 'agent/a.ts', "import koffi from 'koffi'"],
  ['Docker’s API beside what holds it', 'isolators/a.ts', "import Docker from 'dockerode'"],
  ['a module of Node’s inside', 'agent/a.ts', "process.getBuiltinModule('fs')"],
  ['a binding', 'agent/a.ts', "process.binding('fs')"],
  ['native code loaded by hand', 'isolators/a.ts', "process.dlopen(m, 'x.node')"],
  ['fetch', 'agent/a.ts', "await fetch('http://x')"],
  ['fetch by another name', 'agent/a.ts', "globalThis.fetch('http://x')"],
  ['text that is executed', 'agent/a.ts', "new Function('return 1')"]
]

t.test('every other way out of the process is found', async (t) => {
  for (const [sentence, file, text] of violations) t.equal(complaints(file, text).length, 1, sentence)
})

const allowed: readonly (readonly [sentence: string, file: string, text: string])[] = [
  ['a port', 'agent/a.ts', "import { open } from 'node:fs/promises'"],
  ['what reaches nothing', 'isolators/a.ts', "import { join } from 'node:path'"],
  ['the file that holds the package', 'agent/host/exec.ts', "const { execa } = await import('execa')"],
  ['a file of our own, loaded late', 'agent/a.ts', "const { run } = await import('./run.ts')"],
  ['other rooms', 'master/a.ts', "import { Worker } from 'node:worker_threads'"]
]

t.test('the ports are let through', async (t) => {
  for (const [sentence, file, text] of allowed) t.strictSame(complaints(file, text), [], sentence)
})
