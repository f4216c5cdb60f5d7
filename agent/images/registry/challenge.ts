/** One demand of a WWW-Authenticate header (RFC 9110, section 11.6.1). */
export interface Challenge {
  /** In small letters. */
  readonly scheme: string
  readonly parameters: ReadonlyMap<string, string>
}

const maxHeaderLength = 8 * 1024
const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const parameter = new RegExp(`^\\s*,?\\s*(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))`)
const schemeName = new RegExp(`^[\\s,]*(${token})(?:\\s+|(?=,)|$)`)

/** Several challenges may stand in one header; whatever is no challenge ends the reading. */
export function parseChallenges(header: string): readonly Challenge[] {
  const found: Challenge[] = []
  let rest = header.slice(0, maxHeaderLength)
  for (let scheme = schemeName.exec(rest); scheme !== null; scheme = schemeName.exec(rest)) {
    rest = rest.slice(scheme[0].length)
    const parameters = new Map<string, string>()
    for (let pair = parameter.exec(rest); pair !== null; pair = parameter.exec(rest)) {
      parameters.set((pair[1] ?? '').toLowerCase(), pair[2]?.replace(/\\(.)/g, '$1') ?? pair[3] ?? '')
      rest = rest.slice(pair[0].length)
    }
    found.push({ scheme: (scheme[1] ?? '').toLowerCase(), parameters })
  }
  return found
}
