interface Output {
  readonly isTTY?: boolean
  write(text: string): unknown
}

const everyMs = 10_000

/** On a terminal one line that the next one replaces; elsewhere a line now and then. */
export class Progress {
  readonly #output: Output
  readonly #nowMs: () => number
  #writtenAtMs: number
  #shown = ''

  constructor(output: Output, nowMs: () => number) {
    this.#output = output
    this.#nowMs = nowMs
    this.#writtenAtMs = nowMs()
  }

  readonly replace = (text: string): void => {
    if (this.#output.isTTY === true) {
      this.#output.write(`\r\u001b[K${text}`)
      this.#shown = text
      return
    }
    if (this.#nowMs() - this.#writtenAtMs < everyMs) return
    this.#writtenAtMs = this.#nowMs()
    this.#output.write(`${text}\n`)
  }

  readonly tell = (text: string): void => {
    this.#output.write(this.#shown === '' ? `${text}\n` : `\r\u001b[K${text}\n${this.#shown}`)
  }

  end(): void {
    if (this.#shown !== '') this.#output.write('\r\u001b[K')
    this.#shown = ''
  }
}
