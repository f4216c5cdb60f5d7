import type { FaultCode } from '../../base/fault.ts'
import type { Answer } from '../../proto/gen/messages.ts'

export const accepted = (version: number): Answer => ({ refused: false, code: '', message: '', version })

export const refused = (code: FaultCode, message: string): Answer => ({ refused: true, code, message, version: 0 })

/** Ids of frameworks and tasks come from outside: the borders check them in full, `apply` only what its keys rest on. */
export const isId = (text: string): boolean => text !== '' && Buffer.byteLength(text) <= 255 && !text.includes('/')
