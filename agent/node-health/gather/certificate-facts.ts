import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { CertificateFacts } from '../checks/certificates.ts'

export const readCertificates = (paths: readonly string[]): Promise<readonly CertificateFacts[]> =>
  Promise.all(paths.map(async (path) => ({ path, validity: await validityOf(path) })))

async function validityOf(path: string): Promise<CertificateFacts['validity']> {
  try {
    const { validFrom, validTo } = new X509Certificate(await readFile(path))
    return { fromMs: Date.parse(validFrom), untilMs: Date.parse(validTo) }
  } catch (e) {
    // A missing file and bytes that are no certificate are both for the operator to see.
    return { failure: `cannot be read: ${(e as Error).message}` }
  }
}
