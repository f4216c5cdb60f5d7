import { Fault } from '../base/fault.ts'

export interface MasterPlace {
  readonly host: string
  readonly port: number
}

/** Where masters listen for everybody who is on another host. */
export const defaultPort = 7341

export const placeText = ({ host, port }: MasterPlace): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`. Throws `Fault('invalid')`. */
export function parsePlace(text: string): MasterPlace {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = digits === undefined ? defaultPort : Number(digits)
  if (host === undefined || port < 1 || port > 65_535) {
    throw new Fault('invalid', `a master is named as HOST, HOST:PORT or [ADDRESS]:PORT, not ${JSON.stringify(text)}`)
  }
  return { host, port }
}
