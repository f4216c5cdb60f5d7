import { Fault } from '../../../base/fault.ts'
import { dockerHub, type RemoteName } from '../../../proto/image-name.ts'
import type { PullSecrets } from '../unpack-message.ts'
import { credentialsOf } from './credentials.ts'
import type { RegistryHttp } from './http.ts'
import { Session } from './session.ts'
import type { RegistrySettings } from './settings.ts'

/** Docker Hub's name is not the name of its host. */
const hubHost = 'registry-1.docker.io'

/** A place where an image may be had; opened when it is asked. */
export type Source = (signal: AbortSignal) => Promise<Session>

/** The mirrors of the image's registry, then the registry itself. Throws `Fault('not-found')` where there is none to ask. */
export function sourcesOf(
  name: RemoteName,
  settings: RegistrySettings,
  parts: { readonly http: RegistryHttp; readonly secrets: PullSecrets }
): readonly Source[] {
  const { http, secrets } = parts
  const { patience, dockerConfig } = settings
  const mirrors = settings.mirrors.filter(({ registry }) => registry === name.registry)
  const sources: Source[] = mirrors.map(({ endpoint }) => async () => {
    const base = new URL(endpoint.endsWith('/') ? endpoint : `${endpoint}/`)
    const credentials = () => credentialsOf(dockerConfig, base.host)
    return new Session({ http, credentials, patience }, base, name.repository)
  })
  if (name.registry !== dockerHub || settings.dockerHub) {
    sources.push(async (signal) => {
      const base = await http.baseOf(name.registry === dockerHub ? hubHost : name.registry, signal)
      const credentials = async () => secrets.credentials ?? (await credentialsOf(dockerConfig, name.registry))
      return new Session({ http, credentials, patience }, base, name.repository)
    })
  }
  if (sources.length > 0) return sources
  throw new Fault(
    'not-found',
    `there is no image ${name.repository.replace(/^library\//, '')} on this node, which takes none from Docker Hub (--docker-hub no): import it, or name it with its registry, as in registry.example/name:tag`
  )
}
