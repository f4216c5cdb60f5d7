import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import { replaceFile } from '../base/replace-file.ts'
import { type CertifiedName, nameIn } from './name.ts'

/** What a node shows at the doors of its cluster, and whom it believes. */
export interface Credentials {
  /** PEM. */
  readonly key: string
  /** PEM. */
  readonly certificate: string
  /** PEM, one after the other. */
  readonly authorities: string
  readonly name: CertifiedName
  /** Hexadecimal, as node tells it. */
  readonly serial: string
  readonly fromMs: number
  readonly untilMs: number
}

const directoryOf = (stateDir: string): string => join(stateDir, 'identity')
/** Key and certificate in one file, so that no crash leaves a key with the certificate of another. */
export const nodeFile = (stateDir: string): string => join(directoryOf(stateDir), 'node.pem')
export const authoritiesFile = (stateDir: string): string => join(directoryOf(stateDir), 'ca.pem')
/** Where this node's masters are, one address a line. */
export const mastersFile = (stateDir: string): string => join(directoryOf(stateDir), 'masters')

/** Undefined where this node has joined no cluster. Throws `Fault('corrupt')` where the files do not fit together. */
export async function readCredentials(stateDir: string): Promise<Credentials | undefined> {
  const [node, authorities] = await Promise.all([readIfThere(nodeFile(stateDir)), readIfThere(authoritiesFile(stateDir))])
  return node === undefined ? undefined : parseCredentials(node, authorities ?? '', stateDir)
}

/** Of what the two files hold. Throws `Fault('corrupt')`. */
export function parseCredentials(node: string, authorities: string, stateDir: string): Credentials {
  try {
    const [key = ''] = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/.exec(node) ?? []
    const [certificate = ''] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/.exec(node) ?? []
    if (authorities === '') throw new Error('the certificates of the cluster are missing')
    return credentialsOf({ key, certificate, authorities })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const next = 'join again with a token, see hearth agent join --help'
    throw new Fault('corrupt', `the certificate in ${directoryOf(stateDir)} is damaged (${why}): ${next}`, {}, cause)
  }
}

/** Throws where the three are not of one node. */
export function credentialsOf(pem: Pick<Credentials, 'key' | 'certificate' | 'authorities'>): Credentials {
  const parsed = new X509Certificate(pem.certificate)
  if (!parsed.checkPrivateKey(createPrivateKey(pem.key))) throw new Error('key and certificate do not belong together')
  return { ...pem, name: nameIn(parsed), serial: serialOf(parsed), ...validityOf(parsed) }
}

export const serialOf = (certificate: Pick<X509Certificate, 'serialNumber'>): string => certificate.serialNumber.toLowerCase()

export const validityOf = ({ validFrom, validTo }: Pick<X509Certificate, 'validFrom' | 'validTo'>) => ({
  fromMs: Date.parse(validFrom),
  untilMs: Date.parse(validTo)
})

/** Whom to believe first: a crash between the two files leaves a certificate that is still good. */
export async function writeCredentials(
  stateDir: string,
  { key, certificate, authorities }: Pick<Credentials, 'key' | 'certificate' | 'authorities'>
): Promise<void> {
  await mkdir(directoryOf(stateDir), { recursive: true, mode: 0o700 })
  await replaceFile(authoritiesFile(stateDir), authorities, 0o644)
  await replaceFile(nodeFile(stateDir), `${key.trim()}\n${certificate.trim()}\n`, 0o600)
}

export async function writeMasters(stateDir: string, addresses: readonly string[]): Promise<void> {
  await replaceFile(mastersFile(stateDir), `${addresses.join('\n')}\n`, 0o644)
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
