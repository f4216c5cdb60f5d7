import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sha256Of } from './manifest.ts'

/** The documents of an image into its draft, each under its own digest. */
export function putDocuments(draft: string, documents: readonly Uint8Array[]): void {
  for (const bytes of documents) writeFileSync(join(draft, 'blobs', sha256Of(bytes)), bytes, { mode: 0o600 })
}
