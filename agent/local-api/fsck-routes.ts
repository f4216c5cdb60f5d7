import type { FsckReport, Repair } from '../fsck/fsck.ts'
import type { LocalResponse } from '../ports.ts'
import { jsonResponse } from './responses.ts'

export interface FsckSource {
  check(): Promise<FsckReport>
  repair(): Promise<{ readonly report: FsckReport; readonly repairs: readonly Repair[] }>
}

/** `GET` looks, `POST` repairs as well; both answer what is then left. */
export const fsckRoutes = (fsck: FsckSource): readonly (readonly ['GET' | 'POST', string, () => Promise<LocalResponse>])[] => [
  ['GET', '/v1/fsck', async () => jsonResponse(200, { ...(await fsck.check()), repairs: [] })],
  [
    'POST',
    '/v1/fsck',
    async () => {
      const { report, repairs } = await fsck.repair()
      return jsonResponse(200, { ...report, repairs })
    }
  ]
]
