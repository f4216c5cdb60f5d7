/** Who wants to know that something about a node, or about what runs there, is no longer as it was. */
export class NodeChanges {
  readonly #watchers = new Set<(agentId: string) => void>()

  watch(watcher: (agentId: string) => void): void {
    this.#watchers.add(watcher)
  }

  touched(agentId: string): void {
    for (const watcher of this.#watchers) watcher(agentId)
  }
}
