import type { SignatureRule } from '../../proto/gen/messages.ts'
import { signatureRules } from '../../proto/tenant-policy.ts'
import type { ImageList, ImageRecord } from './image-list.ts'
import type { ImageWork } from './image-work.ts'
import type { RegistrySettings } from './registry/settings.ts'
import { type ImageSignature, type SignedImage, signatureRefusal } from './signature.ts'
import type { UnpackedImage } from './unpack-message.ts'

interface KeeperParts {
  readonly list: Pick<ImageList, 'get' | 'put'>
  readonly work: Pick<ImageWork, 'askForSignatures'>
  /** Names change one at a time. */
  serially<T>(change: () => Promise<T>): Promise<T>
}

type Signed = Pick<ImageRecord, 'roots' | 'signatures'>

const mostKept = 64

/** The signatures of images: kept beside each image's name, so that a policy is kept without a network, whatever it asks for later. */
export class SignatureKeeper {
  readonly #parts: KeeperParts
  readonly #registries: RegistrySettings

  constructor(parts: KeeperParts, registries: RegistrySettings) {
    this.#parts = parts
    this.#registries = registries
  }

  /** What a record of this image says of its signatures: what just came, and what was known of the same image before. */
  known({ name, digest, roots = [], signatures = [] }: UnpackedImage): Signed {
    const before = this.#parts.list.get(name)
    if (before?.digest !== digest) return { roots, signatures }
    return merged({ roots, signatures }, before)
  }

  /** Asks the image's registry where what is here does not do. Rejects with a Fault where it cannot be asked. */
  async complete(record: ImageRecord, rules: readonly SignatureRule[], signal: AbortSignal): Promise<void> {
    const image = signedImage(record)
    if (signatureRefusal(signatureRules({ signatures: [...rules] }, record.name), image) === undefined) return
    const { list, work, serially } = this.#parts
    const asked = { name: record.name, roots: image.roots, registries: this.#registries }
    const signatures = await work.askForSignatures(asked, signal)
    await serially(async () => {
      const now = list.get(record.name)
      if (now?.digest === record.digest) await list.put({ ...now, ...merged({ roots: image.roots, signatures }, now) })
    })
  }
}

/** An image of an archive, or of an earlier version, has no digest but its own. */
export const signedImage = ({ name, digest, roots = [], signatures = [] }: ImageRecord): SignedImage => ({
  reference: name,
  roots: [...new Set([digest, ...roots])],
  signatures
})

/** The newest first. */
function merged({ roots = [], signatures = [] }: Signed, before: Signed): Signed {
  const all = [...signatures, ...(before.signatures ?? [])]
  const distinct = new Map<string, ImageSignature>(all.map((one) => [`${one.payload} ${one.signature}`, one]))
  return { roots: [...new Set([...roots, ...(before.roots ?? [])])], signatures: [...distinct.values()].slice(0, mostKept) }
}
