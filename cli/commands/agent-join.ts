import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errnoOf, Fault, isFaultCode } from '../../base/fault.ts'
import { parseJoinToken } from '../../identity/join-token.ts'
import { parsePlace, placeText } from '../../identity/places.ts'
import type { CommonOptions, Context, Environment } from '../context.ts'
import { makeFolders, prepareHost } from '../daemons.ts'
import { requireHostTools, searchFolders } from '../host-tools.ts'
import { hasUnit, startJoinedAgent, systemctl } from '../joined-agent.ts'
import { startProgress } from '../output/progress.ts'
import { isAlive } from '../process-identity.ts'
import type { StateLayout } from '../state-layout.ts'
import { readSupervisorFile } from '../supervisor-file.ts'
import { takeUpLock } from '../up-lock.ts'

interface JoinOptions extends CommonOptions {
  readonly token?: string
  readonly tokenFile?: string
}

interface Joined {
  readonly clusterId: string
  readonly nodeId: string
  readonly untilMs: number
  readonly before: boolean
}

/** Makes this host a node of another host's cluster: certificate, agent, registered. May be repeated. */
export async function joinAgent(context: Context, host: string, options: JoinOptions): Promise<number> {
  const at = placeText(parsePlace(host))
  const token = tokenOf(options, context)
  const layout = prepareHost(context, options, 'hearth agent join')
  requireHostTools(searchFolders(context.env['PATH'] ?? ''))
  makeFolders(layout)
  const release = takeUpLock(layout)
  try {
    refuseOwnCluster(layout)
    const progress = startProgress(context.streams.stderr)
    const joined = await enrol(layout, at, token, context.env).finally(() => progress.clear())
    leaveOwnMaster(layout, joined.clusterId)
    const { nodeId, clusterId, untilMs, before } = joined
    const until = new Date(untilMs).toISOString().slice(0, 10)
    const how = before ? 'has joined before; its certificate was renewed' : 'has joined'
    context.streams.stdout.write(`this host ${how}: node ${nodeId} of cluster ${clusterId}, certificate until ${until}\n`)
    return await startJoinedAgent(context, layout, !before)
  } finally {
    release()
  }
}

/** On the command line everybody on this host can read it in the list of processes, so there are other ways too. */
function tokenOf({ token, tokenFile }: JoinOptions, context: Context): string {
  const text = token ?? (tokenFile === undefined ? context.env['HEARTH_JOIN_TOKEN'] : readToken(tokenFile)) ?? ''
  if (text === '') {
    throw new Fault('invalid', 'give the token of hearth cluster token create: --token T, --token-file FILE or HEARTH_JOIN_TOKEN')
  }
  parseJoinToken(text)
  return text.trim()
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (e) {
    throw new Fault('invalid', `--token-file ${path} cannot be read (${errnoOf(e) ?? String(e)})`, {}, e)
  }
}

function refuseOwnCluster(layout: StateLayout): void {
  const running = readSupervisorFile(layout)
  if (running === undefined || !isAlive(running.process) || !running.daemons.some((d) => d.name === 'master')) return
  throw new Fault('conflict', `a cluster of its own runs in ${layout.stateDir}: end it with hearth down, then join`)
}

function enrol(layout: StateLayout, at: string, token: string, env: Environment): Promise<Joined> {
  const program = join(dirname(process.argv[1] ?? ''), 'enrol.cjs')
  const child = spawn(process.execPath, [program, 'join', '--state-dir', layout.stateDir, at], {
    env: { ...env, HEARTH_JOIN_TOKEN: token },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const out: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      try {
        resolve(answerOf(Buffer.concat(out).toString(), code))
      } catch (e) {
        reject(e as Error)
      }
    })
  })
}

function answerOf(text: string, code: number | null): Joined {
  if (text === '') throw new Fault('unavailable', `the program that joins ended with ${code ?? 'a signal'}; see above`)
  const answer = JSON.parse(text) as Joined & { readonly error?: { readonly code: string; readonly message: string } }
  if (answer.error === undefined) return answer
  const { code: said, message } = answer.error
  throw new Fault(isFaultCode(said) ? said : 'unavailable', message)
}

/** The package starts a master on every host: one that has joined another's cluster has no use for its own. */
function leaveOwnMaster(layout: StateLayout, clusterId: string): void {
  if (!hasUnit(layout) || ownClusterOf(layout) === clusterId) return
  systemctl(['disable', '--quiet', '--now', 'hearth-master.service'])
}

function ownClusterOf({ identity }: StateLayout): string | undefined {
  try {
    return String((JSON.parse(readFileSync(identity, 'utf8')) as { readonly clusterId?: unknown }).clusterId)
  } catch {
    return undefined // no master has ever started here, or its file says nothing: then it is not the one that was joined
  }
}
