import { readFile, rm, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { within } from '../../base/clock.ts'
import type { Exec } from '../../base/exec.ts'
import { errnoOf, isFault } from '../../base/fault.ts'
import { randomId } from '../../base/random.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import type { HttpCheck, Probe } from '../../proto/gen/messages.ts'
import { processOf } from '../host/exec-order.ts'
import { ExecProgram } from '../host/exec-program.ts'
import { type CheckResult, probeDefaults } from './verdict.ts'

export interface CheckParts {
  readonly exec: Exec
  readonly runtime: Pick<Runtime, 'execCommand'>
}

export interface CheckedContainer {
  readonly containerId: string
  readonly bundleDir: string
}

const loopback = '127.0.0.1'

/** Runs a probe once. What goes wrong is a result; it rejects only with the signal's reason. */
export async function runCheck(parts: CheckParts, of: CheckedContainer, probe: Probe, signal: AbortSignal): Promise<CheckResult> {
  const timeoutMs = probe.timeoutMs || probeDefaults.timeoutMs
  const limit = within(timeoutMs, signal)
  try {
    if (probe.http !== null) return await askHttp(probe.http, limit)
    if (probe.tcp !== null) return await askTcp(probe.tcp.port, limit)
    if (probe.command !== null) return await runCommand(parts, of, probe.command.arguments, timeoutMs, signal)
    return { ok: false, message: 'it asks for nothing' }
  } catch (e) {
    signal.throwIfAborted()
    if (limit.aborted || isFault(e, 'timeout')) return { ok: false, message: `no answer within ${timeoutMs} ms` }
    if (isFault(e) || errnoOf(e) !== undefined) return { ok: false, message: (e as Error).message }
    throw e
  }
}

/** Any status from 200 to 399 is well; the body is not read. */
function askHttp({ port, path }: HttpCheck, signal: AbortSignal): Promise<CheckResult> {
  return new Promise((resolve, reject) => {
    const ask = httpRequest({ host: loopback, port, path: path || '/', agent: false, signal }, (response) => {
      response.destroy()
      const status = response.statusCode ?? 0
      resolve({ ok: status >= 200 && status < 400, message: `http://${loopback}:${port}${path || '/'} answered ${status}` })
    })
    ask.once('error', reject)
    ask.end()
  })
}

function askTcp(port: number, signal: AbortSignal): Promise<CheckResult> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: loopback, port, signal })
    socket.once('connect', () => {
      socket.destroy()
      resolve({ ok: true, message: `${loopback}:${port} takes connections` })
    })
    socket.once('error', reject)
  })
}

async function runCommand(
  { exec, runtime }: CheckParts,
  { containerId, bundleDir }: CheckedContainer,
  words: readonly string[],
  timeoutMs: number,
  signal: AbortSignal
): Promise<CheckResult> {
  const name = join(bundleDir, `probe-${randomId()}`)
  const [pidFile, processFile] = [`${name}.pid`, `${name}.process`]
  const wish = { arguments: words, environment: [], workingDirectory: '', user: '', terminal: false }
  const full = runtime.execCommand({ ...wish, containerId, pidFile })
  const [program = '', ...args] = full.slice(0, full.indexOf('exec') + 1)
  try {
    const config: unknown = JSON.parse(await readFile(join(bundleDir, 'config.json'), 'utf8'))
    const order = { arguments: words, environment: [], workingDirectory: '', rows: 0, columns: 0 }
    await writeFile(processFile, JSON.stringify(processOf(config, order, false)), { mode: 0o600 })
    const run = [...args, '--pid-file', pidFile, '--process', processFile, containerId]
    const { code, stdout, stderr } = await exec.run(program, run, { timeoutMs }, signal)
    const said = (stderr.trim() || stdout.trim()).split('\n', 1)[0]?.slice(0, 120) ?? ''
    return { ok: code === 0, message: `${words[0] ?? ''} ended with ${code}${said === '' ? '' : `: ${said}`}` }
  } finally {
    // The runtime that waited for it may be gone, and the program not.
    new ExecProgram(pidFile).kill('SIGKILL')
    for (const path of [pidFile, processFile]) await rm(path, { force: true })
  }
}
