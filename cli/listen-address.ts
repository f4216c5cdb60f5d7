import { Fault } from '../base/fault.ts'
import { defaultPort } from '../identity/places.ts'

/** Throws `Fault('invalid')` for what the master would refuse later: it listens on loopback alone, or nowhere. */
export function checkListenAddress(option: string, text: string): void {
  if (text === 'off') return
  const [, host = '', port = ''] = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text) ?? []
  if (host !== '' && Number(port) <= 65_535) return
  const form = 'must be an address of this host such as 127.0.0.1:7340, or off'
  throw new Fault('invalid', `${option} ${form}, not ${JSON.stringify(text)}`)
}

/** The same for the door of other hosts, which is never in clear text. Answers it with a port. */
export function openListenAddress(option: string, text: string): string {
  if (text === 'off') return text
  const [, host = '', port = String(defaultPort)] = /^([^:\s/[\]]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?$/.exec(text) ?? []
  if (host !== '' && Number(port) <= 65_535) return `${host}:${port}`
  const form = `must be an address of this host such as 0.0.0.0 or 10.0.0.1:${defaultPort}, or off`
  throw new Fault('invalid', `${option} ${form}, not ${JSON.stringify(text)}`)
}
