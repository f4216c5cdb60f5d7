import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { faultTable } from '../../base/fault.ts'
import { streamContentType } from '../../proto/stream-frame.ts'
import { answerSchemas } from './answer-schemas.ts'

type Document = ReturnType<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>

interface Answered {
  readonly status: number
  readonly description: string
  /** None: no body. */
  readonly contentType: string | undefined
  /** Name of its schema, where it is JSON. */
  readonly schema: string | undefined
}

const json = 'application/json'
const is = (schema: string, description: string, status = 200): Answered => ({ status, description, contentType: json, schema })
const raw = (contentType: string, description: string): Answered => ({ status: 200, description, contentType, schema: undefined })
const empty = (description: string): Answered => ({ status: 204, description, contentType: undefined, schema: undefined })

/** By method and path of the document; a route without its row here is none of the document's. */
const answers: Readonly<Record<string, Answered>> = {
  'get /v1/version': is('Version', 'The version'),
  'get /v1/cluster': is('Cluster', 'The cluster'),
  'get /v1/openapi.json': raw(json, 'This document'),
  'get /v1/events': raw('text/event-stream', 'Server-sent events'),
  'post /v1/tasks': is('Task', 'The task, as it was taken', 201),
  'post /v1/tasks/pods': is('Tasks', 'The tasks of the pod, as they were taken', 201),
  'get /v1/tasks': is('Tasks', 'All tasks'),
  'get /v1/tasks/{id}': is('Task', 'The task'),
  'get /v1/tasks/{id}/wait': is('Task', 'The task'),
  'post /v1/tasks/{id}/kill': is('Task', 'The task; its end comes later', 202),
  'post /v1/tasks/{id}/update': is('Task', 'The task, with the limits that hold now'),
  'delete /v1/tasks/{id}': empty('It is gone'),
  'get /v1/tasks/{id}/explain': is('Explanation', 'What is known of its end'),
  'get /v1/tasks/{id}/stats': is('TaskDetails', 'Usage and pressure; null where nobody counts it'),
  'get /v1/tasks/{id}/logs': raw(streamContentType, 'Stream frames'),
  'post /v1/tasks/{id}/exec': raw(streamContentType, 'Stream frames'),
  'post /v1/tasks/{id}/attach': raw(streamContentType, 'Stream frames'),
  'get /v1/tasks/{id}/files': is('Files', 'A folder'),
  'get /v1/tasks/{id}/archive': raw('application/x-tar', 'A tar'),
  'put /v1/tasks/{id}/archive': empty('It is unpacked'),
  'get /v1/raft': is('Raft', 'Log and members'),
  'get /v1/raft/members': is('RaftMembers', 'All members'),
  'post /v1/raft/members': is('RaftMember', 'It is a learner now', 201),
  'post /v1/raft/members/{id}/replace': is('RaftMember', 'It stands where the other stood'),
  'delete /v1/raft/members/{id}': empty('It is no member any more'),
  'post /v1/raft/transfer': is('Transferred', 'Another leads'),
  'post /v1/raft/snapshot': is('Snapshot', 'It is taken'),
  'get /v1/raft/backup': raw('application/octet-stream', 'A snapshot file'),
  'get /metrics': raw('text/plain', 'Prometheus text'),
  'get /v1/tenants': is('Tenants', 'All policies'),
  'get /v1/tenants/{role}': is('Tenant', 'The policy that counts for the role'),
  'patch /v1/tenants/{role}': is('Tenant', 'The policy as it is now'),
  'delete /v1/tenants/{role}': empty('It is gone'),
  'get /v1/nodes': is('Nodes', 'All nodes'),
  'get /v1/nodes/{id}': is('Node', 'The node'),
  'delete /v1/nodes/{id}': empty('It is gone for good'),
  'get /v1/identity': is('Identity', 'Who may come in from other hosts'),
  'post /v1/tokens': is('Token', 'The token, told this once', 201),
  'delete /v1/tokens/{id}': empty('Nobody comes in with it any more'),
  'post /v1/authorities': is('Authority', 'The digest of the new one', 201),
  'delete /v1/authorities/{id}': empty('It is trusted no longer'),
  'get /v1/operators': is('Operators', 'Who may use the API from other hosts'),
  'post /v1/operators': is('OperatorToken', 'The token, told this once', 201),
  'delete /v1/operators/{id}': empty('Its token opens nothing any more'),
  'get /v1/audit': is('Audit', 'What was changed, and what was refused'),
  'post /v1/join': is('Papers', 'A certificate; a master gets the cluster key too'),
  'post /v1/certificates': is('Papers', 'A newer certificate'),
  'get /v1/nodes/{id}/health': is('Health', 'Its checks, worst first'),
  'get /v1/nodes/{id}/top': is('Top', 'What is used; null where nobody counts it'),
  'get /v1/nodes/{id}/isolators': is('Isolators', 'What separates its containers, in order; what is missing and why'),
  'get /v1/nodes/{id}/stats': is('TaskStats', 'Usage and pressure; null where nobody counts it'),
  'get /v1/nodes/{id}/metrics': raw('text/plain', 'Prometheus text'),
  'get /v1/nodes/{id}/fsck': is('Fsck', 'The findings'),
  'post /v1/nodes/{id}/fsck': is('Fsck', 'The findings and what was done'),
  'get /v1/nodes/{id}/images': is('Images', 'All images'),
  'post /v1/nodes/{id}/images': raw(streamContentType, 'Stream frames: progress, then the image'),
  'post /v1/nodes/{id}/images/pull': raw(streamContentType, 'Stream frames: progress, then the image'),
  'post /v1/nodes/{id}/images/verify': raw(streamContentType, 'Stream frames: progress, then the verdict'),
  'post /v1/nodes/{id}/images/prune': is('Pruned', 'What was removed'),
  'post /v1/nodes/{id}/images/collect': is('Collected', 'What was removed'),
  'get /v1/nodes/{id}/images/{name}': is('ImageDetails', 'The image'),
  'delete /v1/nodes/{id}/images/{name}': empty('It is gone')
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

const methods = ['get', 'post', 'put', 'patch', 'delete'] as const

/** Answers are documented here and not in the routes' own schemas, which would write every answer by a schema. */
export const openapiOptions = (version: string): FastifyDynamicSwaggerOptions => ({
  openapi: {
    openapi: '3.1.0',
    info: { title: 'Hearth operator API', version },
    components: {
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'On loopback, and of operators over TLS; the unix socket is guarded by its mode'
        }
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
      if (operation !== undefined) operation.responses = responsesOf(answerOf(method, path))
    }
  }
  return { ...document, components: { ...components, schemas: { Error: errorSchema, ...answerSchemas } } }
}

function answerOf(method: string, path: string): Answered {
  const answered = answers[`${method} ${path}`]
  if (answered === undefined) throw new Error(`openapi.ts has no answer of ${method} ${path}`)
  return answered
}

const responsesOf = ({ status, description, contentType, schema }: Answered): unknown => ({
  [status]: { description, ...(contentType === undefined ? {} : { content: { [contentType]: contentOf(schema) } }) },
  default: {
    description: 'What went wrong; the status is that of the code',
    content: { [json]: { schema: { $ref: '#/components/schemas/Error' } } }
  }
})

const contentOf = (schema: string | undefined): object =>
  schema === undefined ? {} : { schema: { $ref: `#/components/schemas/${schema}` } }
