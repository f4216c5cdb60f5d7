import { commitTo, isUpToDate, lastIndexOf, lastTermOf, matches, sliceLog, termAt } from './log.ts'
import { type Message, message } from './message.ts'
import { send } from './outbox.ts'
import { jointVoters } from './quorum.ts'
import { isPromotable, type Raft } from './raft.ts'
import { nobody } from './state.ts'
import { becomeCandidate, becomeFollower, becomePreCandidate } from './transitions.ts'

export type CampaignKind = 'pre-election' | 'election' | 'transfer'

/** A change that is committed and not applied may take away the right to stand, or the quorum that is about to be counted. */
function hasUnappliedConfChange({ log }: Raft): boolean {
  for (let low = log.applied + 1; low <= log.committed; ) {
    const page = sliceLog(log, low, log.committed + 1, log.maxApplyingBytes) ?? []
    if (page.length === 0) return false
    if (page.some((entry) => entry.type !== 'normal')) return true
    low += page.length
  }
  return false
}

/** Starts an election, if this node may stand. */
export function campaignIfAllowed(raft: Raft, kind: CampaignKind): void {
  if (raft.role === 'leader' || !isPromotable(raft) || hasUnappliedConfChange(raft)) return
  campaign(raft, kind)
}

export function campaign(raft: Raft, kind: CampaignKind): void {
  const isPre = kind === 'pre-election'
  if (isPre) becomePreCandidate(raft)
  else becomeCandidate(raft)
  // A pre-candidate asks for the term that it would stand in.
  const term = isPre ? raft.term + 1 : raft.term
  for (const id of jointVoters(raft.tracker.config.voters)) {
    if (id === raft.options.id) {
      // The own vote counts when it is on disk, so it comes back as a message.
      const own = message(isPre ? 'pre-vote-response' : 'vote-response', id)
      own.term = term
      send(raft, own)
      continue
    }
    const request = message(isPre ? 'pre-vote' : 'vote', id)
    request.term = term
    request.index = lastIndexOf(raft.log)
    request.logTerm = lastTermOf(raft.log)
    request.force = kind === 'transfer'
    tellCommit(raft, request)
    send(raft, request)
  }
}

/**
 * Learners vote too: one may have been made a voter and not have heard of it, and the election may hang on it. Whether the vote
 * counts is up to the candidate's configuration.
 */
export function answerVoteRequest(raft: Raft, m: Message): void {
  const isRepeat = raft.vote === m.from
  const isFree = raft.vote === nobody && raft.leader === nobody
  const isForLater = m.type === 'pre-vote' && m.term > raft.term
  const isGranted = (isRepeat || isFree || isForLater) && isUpToDate(raft.log, m.logTerm, m.index)
  const answer = message(m.type === 'vote' ? 'vote-response' : 'pre-vote-response', m.from)
  // A pre-vote is granted for the term that was asked for, or the candidate would take the answer for an old one.
  answer.term = isGranted ? m.term : raft.term
  answer.reject = !isGranted
  tellCommit(raft, answer)
  send(raft, answer)
  if (isGranted && m.type === 'vote') {
    raft.electionElapsed = 0
    raft.vote = m.from
  }
}

function tellCommit({ options, log }: Raft, m: Message): void {
  if (!options.tellCommitInVotes) return
  m.commit = log.committed
  m.commitTerm = termAt(log, log.committed) ?? 0
}

/** What is committed is so in every term, and an entry of that index and term is the same entry everywhere. */
export function learnCommit(raft: Raft, m: Message): void {
  if (raft.role === 'leader' || m.commitTerm === 0 || !matches(raft.log, m.commitTerm, m.commit)) return
  commitTo(raft.log, m.commit)
  // Whoever stands has begun to count by a configuration that may be over.
  if (raft.role !== 'follower' && hasUnappliedConfChange(raft)) becomeFollower(raft, raft.term, nobody)
}
