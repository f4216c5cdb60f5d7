import { ScenarioRefused } from './format.ts'

const levels = ['debug', 'info', 'warn', 'error', 'fatal', 'none']

/** What a scenario's command prints. At level none nothing is printed, not even by the commands. */
export class Transcript {
  #text = ''
  #indent = ''
  #level = 'debug'

  get isQuiet(): boolean {
    return this.#level === 'none'
  }

  get level(): string {
    return this.#level
  }

  set level(name: string) {
    if (!levels.includes(name.toLowerCase())) throw new ScenarioRefused(`there is no log level ${name}`)
    this.#level = name.toLowerCase()
  }

  write(text: string): void {
    if (this.isQuiet) return
    this.#text += this.#indent === '' ? text : text.replace(/^(?=.)/gm, this.#indent).replace(/([^\n])$/, '$1\n')
  }

  indented(body: () => void): void {
    const before = this.#indent
    this.#indent = `${before}  `
    try {
      body()
    } finally {
      this.#indent = before
    }
  }

  /** All that was written since the last call. */
  take(): string {
    const text = this.#text
    this.#text = ''
    return text
  }
}
