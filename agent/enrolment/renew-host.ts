import { Fault, isFault } from '../../base/fault.ts'
import { readCredentials, writeCredentials } from '../../identity/credentials.ts'
import { renew } from '../../identity/enrolment.ts'
import { parsePlace } from '../../identity/places.ts'

/** Takes a newer certificate from whichever master gives one. Rejects with why the last one did not. */
export async function renewHost(
  stateDir: string,
  masters: readonly string[],
  signal: AbortSignal
): Promise<{ readonly untilMs: number }> {
  const before = await readCredentials(stateDir)
  if (before === undefined) throw new Fault('not-found', `${stateDir} holds no certificate: hearth agent join HOST --token T`)
  let last = new Fault('invalid', 'no master is named as tls:HOST:PORT')
  for (const address of masters.filter((m) => m.startsWith('tls:'))) {
    try {
      const { credentials } = await renew(parsePlace(address.slice('tls:'.length)), before, signal)
      await writeCredentials(stateDir, credentials)
      return { untilMs: credentials.untilMs }
    } catch (e) {
      if (!isFault(e)) throw e
      last = e
    }
  }
  throw last
}
