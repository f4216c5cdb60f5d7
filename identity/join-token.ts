import { createHash } from 'node:crypto'
import { Fault } from '../base/fault.ts'

/** What lets a node in: `H1.<id>.<secret>.<sha256 of the CA certificate>`. */
export interface JoinToken {
  readonly tokenId: string
  readonly secret: string
  /** sha256 of the certificate that the cluster must show before it gets the secret, hexadecimal. */
  readonly authority: string
}

export const formatJoinToken = ({ tokenId, secret, authority }: JoinToken): string => `H1.${tokenId}.${secret}.${authority}`

/** Throws `Fault('invalid')` for what is no token; never repeats it, for it may be half of one. */
export function parseJoinToken(text: string): JoinToken {
  const found = /^H1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/.exec(text.trim())
  const [, tokenId, secret, authority] = found ?? []
  if (tokenId === undefined || secret === undefined || authority === undefined) {
    const form = 'H1.<16 digits>.<43 letters>.<64 digits>, as hearth cluster token create prints it'
    throw new Fault('invalid', `the token must look like ${form}; was it copied whole?`)
  }
  return { tokenId, secret, authority }
}

export const digestOf = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')
