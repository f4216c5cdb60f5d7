import type { Leases } from '../../agent/lease/leases.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { LeaseGrant, LeaseRequest } from '../../proto/gen/messages.ts'

export type Answer = (request: LeaseRequest, nth: number) => Init<LeaseGrant> | undefined

export const granted: Answer = ({ lengthMs }) => ({ granted: true, lengthMs })
export const refused =
  (message: string): Answer =>
  () => ({ granted: false, message })
export const silent: Answer = () => undefined
/** The first answer, then the other. */
export const once =
  (first: Answer, then: Answer): Answer =>
  (request, nth) =>
    (nth === 1 ? first : then)(request, nth)

/** Grants as a test says, by the task's id; silent towards others. */
export class Grantor {
  readonly requests: LeaseRequest[] = []
  readonly #answers = new Map<string, Answer>()

  say(taskId: string, answer: Answer): void {
    this.#answers.set(taskId, answer)
  }

  count(taskId: string): number {
    return this.requests.filter((r) => r.taskId === taskId).length
  }

  serve(leases: Leases): void {
    leases.connect((request) => {
      const grant = this.answerTo(completeMessage('LeaseRequest', request))
      if (grant !== undefined) setImmediate(() => leases.granted(grant))
    })
  }

  answerTo(request: LeaseRequest): LeaseGrant | undefined {
    this.requests.push(request)
    const { epoch, containerId, request: number, taskId } = request
    const answer = this.#answers.get(taskId)?.(request, this.count(taskId))
    return answer && completeMessage('LeaseGrant', { epoch, containerId, request: number, ...answer })
  }
}
