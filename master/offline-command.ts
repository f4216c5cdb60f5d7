import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { errnoOf, Fault } from '../base/fault.ts'
import { checkUnused, foundAnew, noRemains, type Remains, readBackup, readRemains } from './found-anew.ts'
import type { Identity } from './identity.ts'

const options = {
  'state-dir': { type: 'string', default: '/var/lib/hearth' },
  'others-are-lost': { type: 'boolean', default: false },
  'from-agents': { type: 'boolean', default: false },
  'cluster-id': { type: 'string', default: '' },
  json: { type: 'boolean', default: false }
} as const

export const offlineCommands: readonly string[] = ['restore', 'recover', 'verify-backup']

/** What is done to a master's files while no master runs. Throws a `Fault` before anything is changed. */
export async function offlineCommand(argv: readonly string[], nowMs: number, write: (text: string) => void): Promise<number> {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options })
  const [what, file = ''] = positionals
  const stateDir = values['state-dir']
  const tell = (facts: object, text: string): void => write(values.json ? `${JSON.stringify(facts, null, 2)}\n` : text)
  if (what === 'verify-backup') {
    const remains = await readBackupFile(file)
    tell({ file, ...factsOf(remains) }, `${file} is sound: ${contentOf(remains)}\n`)
    return 0
  }
  if (what === 'restore') {
    const remains = await readBackupFile(file)
    await checkUnused(stateDir)
    const identity = await foundAnew(stateDir, remains, nowMs)
    tell({ stateDir, ...identity, ...factsOf(remains) }, `restored ${contentOf(remains)}\n${nextSteps(stateDir, identity)}`)
    return 0
  }
  if (values['from-agents']) {
    const remains = noRemains(values['cluster-id'])
    await checkUnused(stateDir)
    const identity = await foundAnew(stateDir, remains, nowMs)
    tell({ stateDir, ...identity }, `${nextSteps(stateDir, identity)}${thenRebuild}`)
    return 0
  }
  const remains = await readRemains(stateDir)
  if (!values['others-are-lost']) throw notYet(stateDir, remains)
  const identity = await foundAnew(stateDir, remains, nowMs)
  const aside = `the old files lie in ${stateDir}/master.before-recovery-*: remove them when all is well\n`
  tell(
    { stateDir, ...identity, ...factsOf(remains) },
    `recovered ${contentOf(remains)}\n${aside}${nextSteps(stateDir, identity)}`
  )
  return 0
}

async function readBackupFile(file: string): Promise<Remains> {
  if (file === '') throw new Fault('invalid', 'name the file of the backup')
  try {
    return readBackup(file, await readFile(file))
  } catch (cause) {
    const seen = errnoOf(cause)
    if (seen === undefined) throw cause
    throw new Fault('not-found', `${file} cannot be read (${seen})`, { file }, cause)
  }
}

const factsOf = ({ state, lastTerm, term }: Remains) => ({
  index: state.index,
  lastTerm,
  term,
  agents: state.agents.size,
  tasks: state.assignments.size
})

const contentOf = ({ state, lastTerm }: Remains): string =>
  `entries up to ${state.index} of term ${lastTerm}: ${state.agents.size} nodes, ${state.assignments.size} tasks`

const nextSteps = (stateDir: string, { clusterId, formerClusterIds }: Identity): string =>
  [
    `this is cluster ${clusterId} now, in the place of ${formerClusterIds.join(', ')}: masters of the old one are not listened to any more`,
    `next: start the master in ${stateDir}; give its agent-token to nodes that have another one; start new masters with --wait yes,`,
    `the new ${stateDir}/master-token and empty state directories, and take them in with hearth raft add`,
    ''
  ].join('\n')

const thenRebuild = [
  'start the master with --rebuild-from-agents yes (HEARTH_REBUILD_FROM_AGENTS=yes) until hearth node list shows every node,',
  'then without it: until then no task that a node reports is ended for not being known, and afterwards it is',
  ''
].join('\n')

function notYet(stateDir: string, { state, lastTerm }: Remains): Fault {
  const message = [
    `${stateDir} has entries up to ${state.index}, the last one of term ${lastTerm}.`,
    'Run this on every master that is left and take the one with the highest term, and of those the highest entry:',
    'what only others have is lost. Then stop them all for good and repeat there with --others-are-lost'
  ].join(' ')
  return new Fault('conflict', message, { index: state.index, lastTerm })
}
