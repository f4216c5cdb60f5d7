import type { Output } from '../context.ts'

export interface Progress {
  show(text: string): void
  clear(): void
}

/** One line that is written over; only on a terminal. */
export function startProgress(output: Output): Progress {
  let shown = false
  const write = (text: string): void => {
    if (output.isTTY !== true) return
    output.write(`\r\u001b[K${text.slice(0, (output.columns ?? 80) - 1)}`)
  }
  return {
    show(text) {
      shown = true
      write(`${text} …`)
    },
    clear() {
      if (shown) write('')
      shown = false
    }
  }
}
