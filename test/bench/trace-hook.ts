import childProcess from 'node:child_process'
import { subscribe } from 'node:diagnostics_channel'
import fs from 'node:fs'
import promises from 'node:fs/promises'
import { Socket } from 'node:net'

/**
 * Loaded before the agent by `--trace`, never otherwise: writes one JSON line for each call to the file system, each fork and
 * each chunk of the link, with its start and length on the monotonic clock. The agent itself knows nothing of it.
 */

type Call = (...args: unknown[]) => unknown
const nowNs = (): number => Number(process.hrtime.bigint())
const lines: string[] = []
const output = fs.openSync(process.env['BENCH_TRACE'] ?? '/dev/null', 'a')
const writeSync = fs.writeSync

function note(step: string, what: unknown, sinceNs: number): void {
  lines.push(JSON.stringify({ step, what: typeof what === 'string' ? what : '', sinceNs, untilNs: nowNs() }))
}

setInterval(() => {
  if (lines.length > 0) writeSync(output, `${lines.splice(0).join('\n')}\n`)
}, 50).unref()

function observe(owner: Record<string, unknown>, name: string, label: string): void {
  const original = owner[name]
  if (typeof original !== 'function') return
  owner[name] = function observed(this: unknown, ...args: unknown[]): unknown {
    const sinceNs = nowNs()
    const result = (original as Call).apply(this, args)
    if (result instanceof Promise)
      void result.then(
        () => note(label, args[0], sinceNs),
        () => note(`${label} failed`, args[0], sinceNs)
      )
    else note(label, args[0], sinceNs)
    return result
  }
}

const asRecord = (value: unknown): Record<string, unknown> => value as Record<string, unknown>
for (const name of ['mkdir', 'writeFile', 'readFile', 'rm', 'rmdir', 'readdir', 'realpath', 'stat', 'lstat']) {
  observe(asRecord(promises), name, name)
}
for (const name of ['readFileSync', 'writeFileSync', 'existsSync', 'realpathSync', 'mkdirSync', 'writeSync']) {
  observe(asRecord(fs), name, name)
}
observe(asRecord(childProcess), 'spawn', 'spawn (loop blocked)')

subscribe('hearth.isolator', (message) => {
  const { isolator, sinceNs, untilNs } = message as { isolator: string; sinceNs: bigint; untilNs: bigint }
  lines.push(JSON.stringify({ step: 'isolator', what: isolator, sinceNs: Number(sinceNs), untilNs: Number(untilNs) }))
})

/** A file handle's class is not exported: the first handle that is opened shows it. */
const open = promises.open
let shown = false
asRecord(promises)['open'] = async (...args: Parameters<typeof open>) => {
  const handle = await open(...args)
  if (!shown) {
    shown = true
    const shape = asRecord(Object.getPrototypeOf(handle))
    for (const name of ['datasync', 'sync', 'write', 'writev', 'appendFile']) observe(shape, name, `handle.${name}`)
  }
  return handle
}

const emit = Socket.prototype.emit
Socket.prototype.emit = function traced(this: Socket, event: string | symbol, ...args: unknown[]): boolean {
  const sinceNs = nowNs()
  const result = (emit as Call).call(this, event, ...args) === true
  if (event === 'data') note('chunk taken', '', sinceNs)
  return result
}
