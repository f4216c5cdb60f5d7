import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import { type Credentials, credentialsOf, readCredentials, writeCredentials } from '../../identity/credentials.ts'
import { renewFromMs } from '../../identity/lifetime.ts'
import type { CertificateDesk, Papers } from './certificate-desk.ts'

interface Wanted {
  readonly stateDir: string
  readonly clusterId: string
  readonly nodeId: string
}

/** What this master has on disk, as far as it may still be shown at a door. What is damaged is as good as none: it makes another. */
export async function goodCredentials({ stateDir, clusterId, nodeId }: Wanted, clock: Clock): Promise<Credentials | undefined> {
  const found = await readCredentials(stateDir).catch((e: unknown) => {
    if (isFault(e, 'corrupt')) return undefined
    throw e
  })
  const isOwn = found?.name.clusterId === clusterId && found.name.nodeId === nodeId && found.name.role === 'master'
  return isOwn && clock.wallMs() < renewFromMs(found) ? found : undefined
}

/** The same certificate, with those that are trusted by now. */
export async function trustedBy(desk: CertificateDesk, own: Credentials, { stateDir }: Wanted): Promise<Credentials> {
  const { authorities } = desk
  if (authorities === '' || authorities === own.authorities) return own
  const credentials = { ...own, authorities }
  await writeCredentials(stateDir, credentials)
  return credentials
}

/** A new certificate for this master. `issue`: whoever signs and writes it down. */
export async function takeCredentials(issue: (request: string) => Promise<Papers>, { stateDir }: Wanted): Promise<Credentials> {
  const { newCertificateRequest } = await import('../../identity/certificate-request.ts')
  const { key, request } = await newCertificateRequest()
  const { certificate, authorities } = await issue(request)
  const credentials = credentialsOf({ key, certificate, authorities })
  await writeCredentials(stateDir, credentials)
  return credentials
}
