import type { Leadership } from '../replica.ts'

export class LeadershipBoard implements Leadership {
  term = 0
  leading = false
  readonly #watchers = new Set<Parameters<Leadership['watch']>[0]>()

  watch(onChange: Parameters<Leadership['watch']>[0], signal: AbortSignal): void {
    if (signal.aborted) return
    this.#watchers.add(onChange)
    signal.addEventListener('abort', () => this.#watchers.delete(onChange), { once: true })
    if (this.leading) onChange({ kind: 'gained', term: this.term })
  }

  gain(term: number): void {
    this.term = term
    this.leading = true
    for (const watcher of this.#watchers) watcher({ kind: 'gained', term })
  }

  lose(): void {
    if (!this.leading) return
    this.leading = false
    for (const watcher of this.#watchers) watcher({ kind: 'lost', term: this.term })
  }
}
