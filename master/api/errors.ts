import type { FastifyError } from 'fastify'
import { Fault, type FaultCode, type FaultDetail, faultTable, isFault } from '../../base/fault.ts'
import { patternWords } from './schemas.ts'

export interface ErrorAnswer {
  readonly status: number
  readonly body: { readonly error: { readonly code: FaultCode; readonly message: string; readonly detail: FaultDetail } }
}

export const maxBodyBytes = 1024 * 1024

/** What a failed request is answered; undefined for what is no fault of the request or the world but a bug here. */
export function errorAnswer(e: FastifyError | Error): ErrorAnswer | undefined {
  if (isFault(e)) return answer(faultTable[e.code].httpStatus, e.code, e.message, e.detail)
  if (!('statusCode' in e) || typeof e.statusCode !== 'number' || e.statusCode >= 500) return undefined
  const code = 'code' in e ? String(e.code) : ''
  if ('validation' in e && Array.isArray(e.validation)) return answer(400, 'invalid', validationSentence(e))
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    const hint = 'put large environments and data into files of an image or a mount'
    return answer(413, 'invalid', `the request is larger than the limit of ${maxBodyBytes} bytes; ${hint}`)
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return answer(415, 'invalid', 'send the body as application/json')
  if (code === 'FST_ERR_BAD_URL') return answer(400, 'invalid', 'the path holds a % that is no part of percent-encoded UTF-8')
  if (code === 'FST_ERR_CTP_EMPTY_JSON_BODY') return answer(400, 'invalid', 'the request needs a JSON body')
  return answer(e.statusCode, 'invalid', e.message)
}

const answer = (status: number, code: FaultCode, message: string, detail: FaultDetail = {}): ErrorAnswer => ({
  status,
  body: { error: { code, message, detail } }
})

interface Finding {
  readonly instancePath: string
  readonly keyword: string
  readonly params: Readonly<Record<string, unknown>>
  readonly message?: string | undefined
}

/** One sentence about the first thing that is wrong. */
function validationSentence(e: Error & { readonly validation?: unknown; readonly validationContext?: unknown }): string {
  const [first] = e.validation as readonly Finding[]
  if (first === undefined) return e.message
  const where = first.instancePath.slice(1).replaceAll('/', '.')
  const place = where === '' ? `the ${String(e.validationContext ?? 'request')}` : where
  switch (first.keyword) {
    case 'required':
      return `${place} must have the field ${String(first.params['missingProperty'])}`
    case 'additionalProperties':
      return `${place} has an unknown field: ${String(first.params['additionalProperty']).slice(0, 100)}`
    case 'enum':
      return `${place} must be one of ${(first.params['allowedValues'] as readonly unknown[]).join(', ')}`
    case 'pattern':
      return `${place} ${patternWords[String(first.params['pattern'])] ?? first.message ?? 'is wrong'}`
    default:
      return `${place} ${limitWords(first)}`
  }
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a text',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object'
}

function limitWords({ keyword, params, message }: Finding): string {
  const limit = Number(params['limit'])
  switch (keyword) {
    case 'type':
      return `must be ${typeNames[String(params['type'])] ?? String(params['type'])}`
    case 'minLength':
      return limit === 1 ? 'may not be empty' : `must have at least ${limit} characters`
    case 'maxLength':
      return `may have at most ${limit} characters`
    case 'maxItems':
    case 'maxProperties':
      return `may have at most ${limit} entries`
    case 'minimum':
      return `must be at least ${limit}`
    case 'maximum':
      return `may be at most ${limit}`
    default:
      return message ?? 'is wrong'
  }
}

/** JSON in valid UTF-8, without lone surrogates, which no UTF-8 text can hold. Throws `Fault('invalid')`. */
export function parseJsonBody(body: Buffer): unknown {
  if (body.length === 0) return {}
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch (cause) {
    throw new Fault('invalid', 'the body is not valid UTF-8', {}, cause)
  }
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (isBroken(key) || (typeof value === 'string' && isBroken(value)))
        throw new Fault('invalid', 'a text holds half a character')
      return value
    })
  } catch (cause) {
    if (isFault(cause)) throw cause
    throw new Fault('invalid', 'the body is not valid JSON', {}, cause)
  }
}

const isBroken = (text: string): boolean => /\p{Surrogate}/u.test(text)
