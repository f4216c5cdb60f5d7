import { randomBytes, randomInt } from 'node:crypto'

export interface Random {
  /** An integer in [low, high]. */
  between(low: number, high: number): number
}

export const systemRandom: Random = { between: (low, high) => randomInt(low, high + 1) }

/** 128 random bits as 32 lower-case hexadecimal digits. */
export const randomId = (): string => randomBytes(16).toString('hex')

/** A secret of 256 random bits, safe in URLs and headers. */
export const randomToken = (): string => randomBytes(32).toString('base64url')

/** The same draws for the same seed; for simulations and property tests. */
export function seededRandom(seed: number): Random {
  let s = seed >>> 0
  return {
    between(low, high) {
      s = (s + 0x9e3779b9) >>> 0
      let x = s
      x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
      x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
      x = (x ^ (x >>> 16)) >>> 0
      return low + (x % (high - low + 1))
    }
  }
}
