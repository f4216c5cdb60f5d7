/** JSON Schemas of what comes in about tokens and certificates. */

const closed = { type: 'object', additionalProperties: false } as const
const whole = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum })
const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength, pattern: '^[^\\u0000]*$' })
const role = { type: 'string', enum: ['agent', 'master'] } as const
const yearMs = 365 * 24 * 3_600_000
/** A request for a certificate of a P-256 key has about 400 bytes. */
const pem = text(8_192)

export const tokenRequest = {
  ...closed,
  required: ['role', 'ttlMs', 'uses'],
  properties: { role, ttlMs: whole(1_000, yearMs), uses: whole(1, 100_000) }
} as const

export const tokenParams = { ...closed, required: ['id'], properties: { id: text(64) } } as const

export const joinRequest = {
  ...closed,
  required: ['tokenId', 'secret', 'role', 'nodeId', 'hostname', 'request'],
  properties: { tokenId: text(64), secret: text(128), role, nodeId: text(64), hostname: text(255), request: pem }
} as const

export const renewRequest = { ...closed, required: ['request'], properties: { request: pem } } as const

export const operatorRequest = {
  ...closed,
  required: ['name', 'role'],
  properties: {
    name: { ...text(64), pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]*$' },
    role: { type: 'string', enum: ['viewer', 'operator', 'admin'] },
    tenant: text(255),
    ttlMs: whole(1_000, 10 * yearMs)
  }
} as const

export const operatorParams = { ...closed, required: ['id'], properties: { id: text(64) } } as const
