import { CompactEncrypt, compactDecrypt } from 'jose'
import { Fault } from '../../base/fault.ts'

/** AES-256-GCM under the cluster key itself (RFC 7518, 4.5 and 5.3). */
const header = { alg: 'dir', enc: 'A256GCM' } as const

export const seal = (secret: string, clusterKey: Uint8Array): Promise<string> =>
  new CompactEncrypt(Buffer.from(secret)).setProtectedHeader(header).encrypt(clusterKey)

/** Throws `Fault('denied')` for another key than that it was sealed with. */
export async function unseal(sealed: string, clusterKey: Uint8Array): Promise<string> {
  try {
    const { plaintext } = await compactDecrypt(sealed, clusterKey, {
      keyManagementAlgorithms: [header.alg],
      contentEncryptionAlgorithms: [header.enc]
    })
    return Buffer.from(plaintext).toString()
  } catch (cause) {
    const next = 'copy the file cluster-key from a master that has it, or see "The cluster key is lost" in docs/operating.md'
    throw new Fault(
      'denied',
      `the cluster key of this master does not open the key of the cluster’s authority: ${next}`,
      {},
      cause
    )
  }
}
