import { hostname } from 'node:os'
import { parseArgs } from 'node:util'
import { Fault, faultTable, isFault } from '../../base/fault.ts'
import { parseJoinToken } from '../../identity/join-token.ts'
import { parsePlace } from '../../identity/places.ts'
import { joinHost } from './join-host.ts'
import { renewHost } from './renew-host.ts'

const usage = 'enrol.cjs join --state-dir FOLDER HOST[:PORT], or renew --state-dir FOLDER tls:HOST:PORT...'
const patienceMs = 60_000

/**
 * The short-lived program that gets certificates: `hearth agent join` starts it, and the agent when its certificate is to be renewed.
 * What it loads for that would stay in the agent for ever. The token comes in the environment, where no list of processes shows it.
 * Prints one line of JSON, the answer or the fault.
 */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  try {
    const answer = await answerTo(argv, env, AbortSignal.timeout(patienceMs))
    process.stdout.write(`${JSON.stringify(answer)}\n`)
    return 0
  } catch (e) {
    if (!isFault(e)) throw e
    process.stdout.write(`${JSON.stringify({ error: { code: e.code, message: e.message } })}\n`)
    return faultTable[e.code].exitCode
  }
}

async function answerTo(argv: readonly string[], env: Readonly<Record<string, string | undefined>>, signal: AbortSignal) {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { 'state-dir': { type: 'string', default: '' } }
  })
  const [verb = '', ...places] = positionals
  const stateDir = values['state-dir']
  if (stateDir === '' || places.length === 0) throw new Fault('invalid', usage)
  if (verb === 'renew') return await renewHost(stateDir, places, signal)
  if (verb !== 'join') throw new Fault('invalid', usage)
  const token = parseJoinToken(env['HEARTH_JOIN_TOKEN'] ?? '')
  return await joinHost({ stateDir, hostname: hostname(), at: parsePlace(places[0] ?? ''), token }, signal)
}
