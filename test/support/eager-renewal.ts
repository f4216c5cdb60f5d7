import { renewHost } from '../../agent/enrolment/renew-host.ts'
import { CertificateRenewal } from '../../agent/renewal.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { readCredentials } from '../../identity/credentials.ts'

/** An agent's renewal that looks every 20 ms and needs no program of its own. */
export const eagerRenewal = (stateDir: string, masters: readonly string[]): CertificateRenewal =>
  new CertificateRenewal(
    {
      clock: { ...systemClock, sleep: (_ms, signal) => systemClock.sleep(20, signal) },
      exec: {
        run: async (_program, _args, _options, signal) => {
          await renewHost(stateDir, masters, signal)
          return { code: 0, stdout: '', stderr: '' }
        }
      },
      random: systemRandom,
      log: silentLog,
      readCredentials: () => readCredentials(stateDir),
      onRenewed: () => undefined,
      onBroken: (error) => void Promise.reject(error)
    },
    { stateDir, masters, program: [] }
  )
