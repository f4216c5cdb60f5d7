import { type Fault, faultTable } from '../../base/fault.ts'
import type { LocalResponse } from '../ports.ts'

export function jsonResponse(status: number, value: unknown): LocalResponse {
  return { status, contentType: 'application/json', body: once(Buffer.from(JSON.stringify(value))) }
}

export const errorBody = (e: Fault) => ({ error: { code: e.code, message: e.message, detail: e.detail } })

export const faultResponse = (e: Fault): LocalResponse => jsonResponse(faultTable[e.code].httpStatus, errorBody(e))

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
