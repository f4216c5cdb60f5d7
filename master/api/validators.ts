import { type FastifySchemaCompiler, type FastifyServerOptions, fastify } from 'fastify'

const ajv: FastifyServerOptions['ajv'] = {
  customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false }
}

type Validator = ReturnType<FastifySchemaCompiler<unknown>>

/**
 * What checks the bodies and queries of requests, compiled once a process and not once a term: that is half a second of a turn in which
 * a new leader would say nothing to the others, who would elect the next one (docs/decisions/0046).
 */
export class Validators {
  readonly #compiled = new Map<string, Validator>()
  #compile: FastifySchemaCompiler<unknown> | undefined

  /** For one instance of the API. Routes of the same method and path have the same schemas in all of them. */
  async compiler(): Promise<FastifySchemaCompiler<unknown>> {
    this.#compile ??= await firstCompiler()
    const compile = this.#compile
    return (route) => {
      const key = `${route.method} ${route.url} ${route.httpPart}`
      const known = this.#compiled.get(key)
      if (known !== undefined) return known
      const made = compile(route)
      this.#compiled.set(key, made)
      return made
    }
  }
}

/** Fastify makes its own for the first route that has a schema. */
async function firstCompiler(): Promise<FastifySchemaCompiler<unknown>> {
  const app = fastify({ ajv })
  app.get('/', { schema: { querystring: { type: 'object' } } }, async () => ({}))
  await app.ready()
  const compile = app.validatorCompiler
  if (compile === undefined) throw new Error('fastify has no compiler of schemas')
  await app.close()
  return compile
}
