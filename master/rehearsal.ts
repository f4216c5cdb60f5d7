import type { Service } from '../base/service.ts'
import type { Leadership } from './replica.ts'

interface RehearsalParts {
  readonly leadership: Pick<Leadership, 'leading'>
  /** Rooms of a term that is never served. */
  readonly compose: () => { readonly http: Service }
}

/** Does once, before this master can come to lead, what only the first time takes long: a new leader must be heard at once. */
export const rehearsal = ({ leadership, compose }: RehearsalParts): Service => ({
  name: 'rehearsal',
  async start() {
    if (leadership.leading) return // it is about to be done for good
    const { http } = compose()
    await http.start()
    await http.stop(AbortSignal.timeout(0))
  },
  stop: () => Promise.resolve()
})
