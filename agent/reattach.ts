import type { Log } from '../base/log.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { Ledger } from './ports.ts'
import type { Tasks } from './tasks.ts'

interface Parts {
  readonly ledger: Ledger
  readonly runtime: Runtime
  readonly tasks: Tasks
  readonly log: Log
}

export async function reattach(_parts: Parts, _bootId: string): Promise<void> {}
