import { constants } from 'node:os'

/** `SIGTERM` for `TERM`, `sigterm`, `SIGTERM` and `15`; undefined for what is no signal of this kernel. */
export function signalName(text: string): string | undefined {
  if (/^\d{1,2}$/.test(text)) return Object.entries(constants.signals).find(([, number]) => number === Number(text))?.[0]
  const upper = text.toUpperCase()
  const name = upper.startsWith('SIG') ? upper : `SIG${upper}`
  return Object.hasOwn(constants.signals, name) ? name : undefined
}
