import { bugsOfTheDriver } from './bugs-of-the-driver.ts'
import { bugsOfLeases } from './leases/bugs.ts'

/** One deliberate mistake, made in the bundled text alone: the sources never hold it. */
export interface PlantedBug {
  readonly name: string
  /** Below master. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

const bug = (name: string, file: string, find: string, replace: string): PlantedBug => ({
  name,
  file: `raft/${file}`,
  find,
  replace
})

const ofCore: readonly PlantedBug[] = [
  bug('votes twice in a term', 'election.ts', 'const isRepeat = raft.vote === m.from', 'const isRepeat = true'),
  bug('votes for a shorter log', 'log.ts', '(term === last && index >= lastIndexOf(log))', 'term === last'),
  bug('votes for an older term', 'log.ts', 'return term > last || ', 'return index >= lastIndexOf(log) || '),
  bug('forgets its vote on restart', 'node.ts', 'raft.vote = vote', 'raft.vote = nobody'),
  bug(
    'forgets its term on restart',
    'node.ts',
    'raft.term = term\n  raft.vote',
    'raft.term = Math.max(0, term - 1)\n  raft.vote'
  ),
  bug(
    'sends votes before they are on disk',
    'outbox.ts',
    'if (promises.has(m.type)) {',
    "if (promises.has(m.type) && (m.type !== 'vote-response' || m.to === raft.options.id)) {"
  ),
  bug(
    'acknowledges before it is on disk',
    'outbox.ts',
    'if (promises.has(m.type)) {',
    "if (promises.has(m.type) && (m.type !== 'append-response' || m.to === raft.options.id)) {"
  ),
  bug(
    'counts itself before its disk',
    'replication.ts',
    'sendAppendResponse(raft, raft.options.id, index)',
    'const own = raft.tracker.progress.get(raft.options.id)\n  if (own !== undefined) own.match = index\n  sendAppendResponse(raft, raft.options.id, index)'
  ),
  bug(
    'commits old terms by counting',
    'replication.ts',
    ' || !matches(raft.log, raft.term, index)) return false',
    ') return false'
  ),
  bug(
    'a minority commits',
    'quorum.ts',
    'ascending[count - (Math.floor(count / 2) + 1)]',
    'ascending[count - Math.max(1, Math.floor(count / 2))]'
  ),
  bug(
    'one vote less wins',
    'quorum.ts',
    'const quorum = Math.floor(voters.length / 2) + 1',
    'const quorum = Math.max(1, Math.floor(voters.length / 2))'
  ),
  bug(
    'joint: the outgoing majority has no say in commits',
    'quorum.ts',
    'return Math.min(committedIndex(quorum.incoming, reached), committedIndex(quorum.outgoing, reached))',
    'return committedIndex(quorum.incoming, reached)'
  ),
  bug(
    'does not look at the entry before',
    'log.ts',
    'if (!matches(log, previous.term, previous.index)) return undefined',
    'if (termAt(log, previous.index) === undefined) return undefined'
  ),
  bug(
    'keeps what conflicts',
    'log.ts',
    'if (conflict !== undefined) appendToLog',
    'if (conflict !== undefined && conflict.index > lastIndexOf(log)) appendToLog'
  ),
  bug(
    'an older append cuts off newer entries',
    'log.ts',
    'const conflict = firstConflict(log, entries)',
    'const conflict = entries[0] !== undefined && entries[0].index > log.committed ? entries[0] : firstConflict(log, entries)'
  ),
  bug(
    'a heartbeat tells a commit that is not matched',
    'replication.ts',
    'm.commit = Math.min(progress.match, raft.log.committed)',
    'm.commit = raft.log.committed'
  ),
  bug(
    'commits what the leader has, not what it sent',
    'log.ts',
    'commitTo(log, Math.min(leaderCommit, lastNew))',
    'commitTo(log, Math.min(leaderCommit, lastIndexOf(log)))'
  ),
  bug(
    'takes an old write for the new one',
    'unstable.ts',
    'unstable.entries[index - unstable.offset]?.term !== term',
    'unstable.entries[index - unstable.offset] === undefined'
  ),
  bug(
    'applies what is not on its disk',
    'applying.ts',
    'return allowUnstable ? log.committed : Math.min(log.committed, log.unstable.offset - 1)',
    'return log.committed'
  ),
  bug(
    'does not write replaced entries again',
    'unstable.ts',
    'unstable.offsetInProgress = Math.min(unstable.offsetInProgress, from)',
    ''
  ),
  bug(
    'follows a leader of an older term',
    'step.ts',
    '} else if (m.term < raft.term && m.term !== 0) {',
    "} else if (m.term < raft.term && m.term !== 0 && m.type !== 'append') {"
  ),
  bug(
    'does not adopt a higher term',
    'step.ts',
    'becomeFollower(raft, m.term, isFromLeader ? m.from : nobody)',
    'if (isFromLeader) becomeFollower(raft, m.term, m.from)'
  ),
  bug('keeps its vote in a new term', 'transitions.ts', 'raft.vote = nobody', ''),
  bug(
    'a candidate does not raise its term',
    'transitions.ts',
    'reset(raft, raft.term + 1)',
    'reset(raft, Math.max(1, raft.term))'
  ),
  bug('reads ask nobody', 'leader-reads.ts', "if (raft.options.reads === 'lease') answerRead", 'if (raft.term > 0) answerRead'),
  bug(
    'reads do not wait for the first commit of the term',
    'leader-reads.ts',
    'else if (hasCommittedInTerm(raft)) askQuorum',
    'else if (raft.term > 0) askQuorum'
  ),
  bug(
    'an answer to an old round confirms a new read',
    'reads.ts',
    'const pending = queue.waiting.findIndex((read) => read.round > quorumRound)',
    'const pending = quorumRound > 0 ? -1 : 0'
  ),
  bug(
    'one answer confirms a read',
    'reads.ts',
    'const quorumRound = jointCommittedIndex(tracker.config.voters, (id) => queue.confirmed.get(id) ?? 0)',
    'const quorumRound = round'
  ),
  bug('rounds go on in the next term', 'transitions.ts', 'raft.reads = newReadQueue()', ''),
  bug('a snapshot does not bring its members', 'follower.ts', 'restoreMembership(raft, snapshot.confState)', ''),
  bug(
    'a snapshot moves the commit back',
    'follower.ts',
    'if (snapshot.index <= log.committed) return false',
    'if (snapshot.index < 2) return false'
  ),
  bug(
    'the log before a snapshot is kept',
    'unstable.ts',
    'unstable.offset = snapshot.index + 1\n',
    'unstable.offset = snapshot.index\n'
  ),
  bug(
    'a failed append is taken for a match',
    'leader-responses.ts',
    'if (m.reject) handleRefusal(raft, m, progress)\n',
    'if (m.reject) maybeUpdate(progress, m.index)\n'
  ),
  bug(
    'two changes at a time',
    'leader.ts',
    'change === undefined || raft.pendingConfIndex > raft.log.applied',
    'change === undefined'
  ),
  bug(
    'several voters change without a joint configuration',
    'conf-change.ts',
    "return { kind: 'enter', autoLeave: change.transition !== 'explicit' }",
    "return { kind: 'simple' }"
  ),
  bug(
    'never leaves a joint configuration by itself',
    'step.ts',
    'if (tracker.config.autoLeave && raft.role',
    'if (raft.term < 0 && raft.role'
  ),
  bug(
    'a refused follower is not tried again',
    'leader-responses.ts',
    'if (!maybeDecrease(progress, m.index, hint)) return',
    'if (m.term > 0) return'
  ),
  bug('a lost pipeline is never noticed', 'leader-responses.ts', 'progress.flowPaused = false\n', '')
]

/** Each must be found by the simulation. A text that is not in its file is a mistake of this list, and said so. */
export const plantedBugs: readonly PlantedBug[] = [...ofCore, ...bugsOfTheDriver, ...bugsOfLeases]
