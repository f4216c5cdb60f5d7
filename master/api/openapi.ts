import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { faultTable } from '../../base/fault.ts'
import { streamContentType } from '../../proto/stream-frame.ts'

type Document = ReturnType<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>

interface Answered {
  readonly status: number
  readonly description: string
  /** None: no body. */
  readonly contentType: string | undefined
}

const json = 'application/json'
const answer = (status: number, description: string, contentType: string | undefined = json): Answered => ({
  status,
  description,
  contentType
})

/** The answers that are not 200 with JSON, by method and path of the document. */
const answers: Readonly<Record<string, Answered>> = {
  'post /v1/tasks': answer(201, 'The task, as it was taken'),
  'post /v1/tasks/{id}/kill': answer(202, 'The task; its end comes later'),
  'delete /v1/tasks/{id}': answer(204, 'It is gone', undefined),
  'delete /v1/nodes/{id}/images/{name}': answer(204, 'It is gone', undefined),
  'get /v1/tasks/{id}/logs': answer(200, 'Stream frames', streamContentType),
  'post /v1/tasks/{id}/exec': answer(200, 'Stream frames', streamContentType),
  'post /v1/tasks/{id}/attach': answer(200, 'Stream frames', streamContentType),
  'post /v1/nodes/{id}/images': answer(200, 'Stream frames: progress, then the image', streamContentType),
  'get /v1/tasks/{id}/archive': answer(200, 'A tar', 'application/x-tar'),
  'get /v1/events': answer(200, 'Server-sent events', 'text/event-stream')
}

const errorSchema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message', 'detail'],
      properties: {
        code: { type: 'string', enum: Object.keys(faultTable) },
        message: { type: 'string', description: 'One sentence: what was seen and what to do' },
        detail: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } }
      }
    }
  }
}

const methods = ['get', 'post', 'put', 'delete'] as const

/** Answers are documented here and not in the routes' own schemas, which would write every answer by a schema. */
export const openapiOptions = (version: string): FastifyDynamicSwaggerOptions => ({
  openapi: {
    openapi: '3.1.0',
    info: { title: 'Hearth operator API', version },
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'On loopback; the unix socket is guarded by its mode' }
      }
    },
    security: [{ bearer: [] }, {}]
  },
  transformObject: (input) => ('openapiObject' in input ? (withAnswers(input.openapiObject) as Document) : input.swaggerObject)
})

interface Operation {
  responses?: unknown
}

function withAnswers(document: object): object {
  const { paths = {}, components = {} } = document as { paths?: Record<string, Record<string, Operation>>; components?: object }
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of methods) {
      const operation = operations[method]
      if (operation !== undefined) operation.responses = responsesOf(answers[`${method} ${path}`] ?? answer(200, 'The answer'))
    }
  }
  return { ...document, components: { ...components, schemas: { Error: errorSchema } } }
}

const responsesOf = ({ status, description, contentType }: Answered): unknown => ({
  [status]: { description, ...(contentType === undefined ? {} : { content: { [contentType]: {} } }) },
  default: {
    description: 'What went wrong; the status is that of the code',
    content: { [json]: { schema: { $ref: '#/components/schemas/Error' } } }
  }
})
