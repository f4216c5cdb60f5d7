type Undo = () => Promise<void> | void

/** What a bench started or made, undone newest first, also after a failure or Ctrl-C. Every part is tried. */
export class Cleanup {
  #undos: { readonly name: string; readonly undo: Undo }[] = []

  /** Returns how to undo it early; it is then not undone again. */
  add(name: string, undo: Undo): () => Promise<void> {
    const entry = { name, undo }
    this.#undos.push(entry)
    return async () => {
      if (!this.#undos.includes(entry)) return
      this.#undos = this.#undos.filter((other) => other !== entry)
      await undo()
    }
  }

  /** Resolves with a sentence for everything that could not be undone. */
  async run(): Promise<readonly string[]> {
    const left: string[] = []
    for (let entry = this.#undos.pop(); entry !== undefined; entry = this.#undos.pop()) {
      try {
        await entry.undo()
      } catch (e) {
        left.push(`${entry.name} could not be removed: ${e instanceof Error ? e.message : String(e)}`)
      }
    }
    return left
  }
}
