import type { Transition } from '../../master/raft/conf-change.ts'
import { encodeConfChange, encodeSingleChange } from '../../master/raft/conf-change-codec.ts'
import { type EntryType, noData } from '../../master/raft/entry.ts'
import { appendThread, applyThread, isThread, type Message, type MessageType, message } from '../../master/raft/message.ts'
import type { StepOutcome } from '../../master/raft/outcome.ts'
import { jointVoters } from '../../master/raft/quorum.ts'
import { hasReady } from '../../master/raft/ready.ts'
import { act, step, tick } from '../../master/raft/step.ts'
import { changesFrom, describeEntries, describeMessage, describeProgressMap, messageNames, roleNames } from './describe.ts'
import {
  type Argument,
  argumentOf,
  booleanOf,
  numbersOf,
  parseDirective,
  type ScenarioCase,
  ScenarioRefused,
  wholeNumber
} from './format.ts'
import { Lab, type LabOptions, labOptions } from './lab.ts'
import { Transcript } from './transcript.ts'

type Command = (args: readonly Argument[], input: string) => void

/** What a command prints instead of its result; at level none too. */
class CommandError extends Error {}

const outcomes: Readonly<Record<StepOutcome, string | undefined>> = {
  ok: undefined,
  dropped: 'raft proposal dropped',
  'local-message': 'raft: cannot step raft local message',
  'unknown-peer': 'raft: cannot step as peer not found'
}

/** Runs the cases of one interaction file against nodes of our core. */
export class Interaction {
  readonly #out = new Transcript()
  readonly #lab = new Lab(this.#out)
  readonly #commands: Readonly<Record<string, Command>> = {
    _breakpoint: () => undefined,
    'add-nodes': (args) => this.#addNodes(args),
    campaign: (args) => this.#tell(firstId(args), message('campaign', 0)),
    compact: (args) => this.#compact(args),
    'deliver-msgs': (args) => this.#deliverMessages(args),
    'forget-leader': (args) => this.#tell(firstId(args), message('forget-leader', 0)),
    'log-level': (args) => {
      this.#out.level = args[0]?.key ?? ''
    },
    'process-append-thread': (args) => this.#processThreads(args, appendThread),
    'process-apply-thread': (args) => this.#processThreads(args, applyThread),
    'process-ready': (args) => this.#forEach(args, 'handling Ready', (id) => this.#lab.processReady(id)),
    propose: (args) => this.#propose(firstId(args), 'normal', Buffer.from(args[1]?.key ?? '')),
    'propose-conf-change': (args, input) => this.#proposeConfChange(args, input),
    'raft-log': (args) => this.#printLog(firstId(args)),
    'raft-state': () => this.#printStates(),
    'report-unreachable': (args) => this.#reportUnreachable(args),
    'send-snapshot': (args) => this.#sendSnapshot(args),
    'set-randomized-election-timeout': (args) => {
      this.#lab.node(firstId(args)).raft.randomizedElectionTicks = wholeNumber(argumentOf(args, 'timeout') ?? '')
    },
    stabilize: (args) => this.#stabilize(args),
    status: (args) => this.#printStatus(firstId(args)),
    'tick-election': (args) => this.#tick(firstId(args), (options) => options.electionTicks),
    'tick-heartbeat': (args) => this.#tick(firstId(args), (options) => options.heartbeatTicks),
    'transfer-leadership': (args) => this.#transferLeadership(args),
    // Not of etcd's language: what its scenarios cannot ask for.
    'read-index': (args) => this.#readIndex(args),
    'report-snapshot': (args) => this.#reportSnapshot(args),
    restart: (args) => this.#forEach(args, 'restarting', (id) => this.#lab.restart(id))
  }

  /** What the case prints. */
  run({ command, args, input }: ScenarioCase): string {
    try {
      this.#dispatch(command, args, input)
      if (command !== 'propose-conf-change') this.#runInput(input)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      if (this.#out.isQuiet) return error.message
      this.#out.write(error.message)
    }
    const printed = this.#out.take()
    return printed === '' ? 'ok' : printed
  }

  /** Further commands may stand below the first one. */
  #runInput(input: string): void {
    for (const line of input.split('\n').filter((l) => l.trim() !== '')) {
      const { command, args } = parseDirective(line)
      this.#dispatch(command, args, '')
    }
  }

  #dispatch(command: string, args: readonly Argument[], input: string): void {
    const run = Object.hasOwn(this.#commands, command) ? this.#commands[command] : undefined
    if (run === undefined) throw new ScenarioRefused(`unknown command ${command}`)
    run(args, input)
  }

  #addNodes(args: readonly Argument[]): void {
    const index = wholeNumber(argumentOf(args, 'index') ?? '0')
    const content = Buffer.from(argumentOf(args, 'content') ?? '')
    const voters = numbersOf(args, 'voters')
    const learners = numbersOf(args, 'learners')
    const isEmpty = index + voters.length + learners.length + content.length === 0
    if (!isEmpty && index <= 1) throw new CommandError('index must be specified as > 1 due to bootstrap')
    const confState = { voters, learners, votersOutgoing: [], learnersNext: [], autoLeave: false }
    const options = optionsFrom(args)
    for (let i = 0; i < firstId(args); i++) {
      this.#lab.addNode(options, isEmpty ? undefined : { index, term: 1, confState, data: content })
    }
  }

  #tell(id: number, m: Message): void {
    const outcome = act(this.#lab.node(id).raft, m)
    if (m.type === 'propose' || m.type === 'read-index') this.#report(outcome)
  }

  #report(outcome: StepOutcome): void {
    const text = outcomes[outcome]
    if (text !== undefined) throw new CommandError(text)
  }

  #compact(args: readonly Argument[]): void {
    const id = firstId(args)
    const index = wholeNumber(args[1]?.key ?? '')
    if (!this.#lab.node(id).storage.compact(index)) throw new CommandError('requested index is unavailable due to compaction')
    this.#printLog(id)
  }

  #deliverMessages(args: readonly Argument[]): void {
    const name = argumentOf(args, 'type')
    const type = (Object.keys(messageNames) as MessageType[]).find((t) => messageNames[t] === name)
    if (name !== undefined && type === undefined) throw new ScenarioRefused(`there is no message ${name}`)
    let count = 0
    for (const { key, values } of args) {
      if (key === 'drop') for (const id of values) count += this.#drop(wholeNumber(id), type)
      else if (values.length === 0) count += this.#deliver(wholeNumber(key), type)
    }
    if (count === 0) this.#out.write('no messages\n')
  }

  /** What a node tells itself or its threads cannot get lost. */
  #drop(to: number, type: MessageType | undefined): number {
    const isLossy = (m: Message) => m.from !== m.to && !isThread(m.from) && (type === undefined || m.type === type)
    const dropped = this.#lab.take(to, isLossy)
    for (const m of dropped) this.#out.write(`dropped: ${describeMessage(m)}\n`)
    return dropped.length
  }

  #deliver(to: number, type: MessageType | undefined): number {
    const messages = this.#lab.take(to, (m) => type === undefined || m.type === type)
    for (const m of messages) {
      this.#out.write(`${describeMessage(m)}\n`)
      const outcome = step(this.#lab.node(to).raft, m)
      if (outcome !== 'ok' && (outcome !== 'dropped' || m.type === 'propose')) this.#out.write(`${outcomes[outcome]}\n`)
    }
    return messages.length
  }

  #processThreads(args: readonly Argument[], thread: typeof appendThread | typeof applyThread): void {
    const title = `processing ${thread === appendThread ? 'append' : 'apply'} thread`
    this.#forEach(args, title, (id) => this.#lab.processThread(id, thread))
  }

  /** One node prints plainly, several one below the other with a title each. */
  #forEach(args: readonly Argument[], title: string, body: (id: number) => void): void {
    const ids = idsOf(args)
    for (const id of ids) {
      if (ids.length > 1) this.#titled(id, title, () => body(id))
      else body(id)
    }
  }

  #titled(id: number, title: string, body: () => void): void {
    this.#out.write(`> ${id} ${title}\n`)
    this.#out.indented(body)
  }

  #propose(id: number, type: EntryType, data: Uint8Array): void {
    const m = message('propose', 0)
    m.entries = [{ term: 0, index: 0, type, data }]
    this.#tell(id, m)
  }

  #proposeConfChange(args: readonly Argument[], input: string): void {
    const isV1 = booleanOf(argumentOf(args, 'v1') ?? 'false')
    const transition = transitionFrom(argumentOf(args, 'transition') ?? 'auto')
    const changes = changesFrom(input)
    const [single] = changes
    if (isV1 && (single === undefined || changes.length > 1 || transition !== 'auto')) {
      throw new CommandError('v1 conf change can only have one operation and no transition')
    }
    const proposal =
      isV1 && single !== undefined ? encodeSingleChange(single) : encodeConfChange({ transition, changes, context: noData })
    this.#propose(firstId(args), proposal.type, proposal.data)
  }

  #printLog(id: number): void {
    const { storage } = this.#lab.node(id)
    const first = storage.firstIndex()
    const last = storage.lastIndex()
    const entries = storage.entries(first, last + 1, Number.MAX_SAFE_INTEGER) ?? []
    this.#out.write(entries.length === 0 ? `log is empty: first index=${first}, last index=${last}` : describeEntries(entries))
  }

  #printStates(): void {
    for (const { raft } of this.#lab.nodes) {
      const { id } = raft.options
      const isVoter = jointVoters(raft.tracker.config.voters).includes(id)
      this.#out.write(
        `${id}: ${roleNames[raft.role]} (${isVoter ? 'Voter' : 'Non-Voter'}) Term:${raft.term} Lead:${raft.leader}\n`
      )
    }
  }

  #printStatus(id: number): void {
    const { raft } = this.#lab.node(id)
    if (raft.role === 'leader') this.#out.write(describeProgressMap(raft.tracker.progress))
  }

  #reportUnreachable(args: readonly Argument[]): void {
    const [from, peer] = idsOf(args)
    if (from === undefined || peer === undefined) throw new ScenarioRefused('report-unreachable takes two nodes')
    const m = message('unreachable', 0)
    m.from = peer
    this.#tell(from, m)
  }

  #reportSnapshot(args: readonly Argument[]): void {
    const [from, peer] = idsOf(args)
    if (from === undefined || peer === undefined) throw new ScenarioRefused('report-snapshot takes two nodes')
    const m = message('snapshot-status', 0)
    m.from = peer
    m.reject = booleanOf(argumentOf(args, 'reject') ?? 'false')
    this.#tell(from, m)
  }

  #readIndex(args: readonly Argument[]): void {
    const m = message('read-index', 0)
    m.context = args[1]?.key ?? ''
    this.#tell(firstId(args), m)
  }

  #sendSnapshot(args: readonly Argument[]): void {
    const [from, to] = idsOf(args)
    if (from === undefined || to === undefined) throw new ScenarioRefused('send-snapshot takes two nodes')
    const { raft, storage } = this.#lab.node(from)
    const m = message('snapshot', to)
    m.from = from
    m.term = raft.term
    m.snapshot = storage.snapshot(to)
    this.#lab.messages.push(m)
    this.#out.write(describeMessage(m))
  }

  #tick(id: number, ticks: (options: LabOptions) => number): void {
    const { raft } = this.#lab.node(id)
    for (let left = ticks(raft.options); left > 0; left--) tick(raft)
  }

  #transferLeadership(args: readonly Argument[]): void {
    const m = message('transfer-leader', 0)
    m.from = wholeNumber(argumentOf(args, 'to') ?? '')
    this.#tell(wholeNumber(argumentOf(args, 'from') ?? ''), m)
  }

  #stabilize(args: readonly Argument[]): void {
    const level = this.#out.level
    const asked = argumentOf(args, 'log-level')
    if (asked !== undefined) this.#out.level = asked
    const given = idsOf(args)
    const ids = given.length > 0 ? given : this.#lab.nodes.map((node) => node.raft.options.id)
    try {
      while (this.#settle(ids));
    } finally {
      this.#out.level = level
    }
  }

  /** One turn of everything that can be done; false when there was nothing. */
  #settle(ids: readonly number[]): boolean {
    let moved = false
    const each = (isDue: (id: number) => boolean, title: string, body: (id: number) => void) => {
      for (const id of ids.filter(isDue)) {
        this.#titled(id, title, () => body(id))
        moved = true
      }
    }
    const thread = (work: 'appendWork' | 'applyWork', title: string, to: typeof appendThread | typeof applyThread) => {
      const isBusy = (id: number) => this.#lab.node(id)[work].length > 0
      each(isBusy, title, (id) => {
        while (isBusy(id)) this.#lab.processThread(id, to)
      })
    }
    each(
      (id) => hasReady(this.#lab.node(id).raft),
      'handling Ready',
      (id) => this.#lab.processReady(id)
    )
    each(
      (id) => this.#lab.messages.some((m) => m.to === id),
      'receiving messages',
      (id) => this.#deliver(id, undefined)
    )
    thread('appendWork', 'processing append thread', appendThread)
    thread('applyWork', 'processing apply thread', applyThread)
    return moved
  }
}

/** Arguments without a value are ids of nodes. */
const idsOf = (args: readonly Argument[]): readonly number[] =>
  args.filter((arg) => arg.values.length === 0).map((arg) => wholeNumber(arg.key))

function firstId(args: readonly Argument[]): number {
  const [first] = args
  if (first === undefined) throw new ScenarioRefused('a number is missing')
  return wholeNumber(first.key)
}

function transitionFrom(text: string): Transition {
  if (text !== 'auto' && text !== 'implicit' && text !== 'explicit') throw new CommandError(`unknown transition ${text}`)
  return text
}

type Setting = (text: string) => Partial<LabOptions>

const settings: Readonly<Record<string, Setting>> = {
  inflight: (text) => ({ maxInflightMessages: wholeNumber(text) }),
  'async-storage-writes': (text) => ({ asyncStorageWrites: booleanOf(text) }),
  prevote: (text) => ({ preVote: booleanOf(text) }),
  checkquorum: (text) => ({ checkQuorum: booleanOf(text) }),
  'max-committed-size-per-ready': (text) => ({ maxApplyingBytes: wholeNumber(text) }),
  'disable-conf-change-validation': (text) => ({ validateConfChanges: !booleanOf(text) }),
  'step-down-on-removal': (text) => ({ stepDownOnRemoval: booleanOf(text) }),
  'read-only': (text) => ({ reads: readsFrom(text) }),
  // Ours.
  'inflight-bytes': (text) => ({ maxInflightBytes: wholeNumber(text) }),
  'max-message-bytes': (text) => ({ maxMessageBytes: wholeNumber(text) }),
  'max-uncommitted-bytes': (text) => ({ maxUncommittedBytes: wholeNumber(text) }),
  'tell-commit-in-votes': (text) => ({ tellCommitInVotes: booleanOf(text) }),
  'tell-commits-at-once': (text) => ({ tellCommitsAtOnce: booleanOf(text) }),
  'forward-proposals': (text) => ({ forwardProposals: booleanOf(text) })
}

function readsFrom(text: string): LabOptions['reads'] {
  if (text !== 'safe' && text !== 'lease-based') throw new CommandError(`invalid read-only option "${text}"`)
  return text === 'safe' ? 'quorum' : 'lease'
}

const startsFrom: ReadonlySet<string> = new Set(['voters', 'learners', 'index', 'content'])

function optionsFrom(args: readonly Argument[]): LabOptions {
  let options = labOptions
  for (const { key, values } of args.slice(1).filter((arg) => !startsFrom.has(arg.key))) {
    const setting = Object.hasOwn(settings, key) ? settings[key] : undefined
    if (setting === undefined) throw new ScenarioRefused(`unknown setting ${key}`)
    options = { ...options, ...setting(values[0] ?? '') }
  }
  return options
}
