import t from 'tap'
import { attempts } from '../campaign/escape/all.ts'
import { EscapeStage } from '../campaign/escape/stage.ts'

/** One attempt at a wall; all of them are tried by `npm run campaign -- escape`. */
const sample: readonly string[] = [
  'a user namespace by unshare',
  'a mount',
  'the kernel’s log as a device',
  'a signal to a process of the host',
  'an abstract socket of the host',
  'a shared memory of the host',
  '/proc/interrupts',
  '/proc/sys/kernel/panic opened for writing',
  'root by a set-user-id program',
  'a device node of a volume',
  'a file of the host through a link in a volume',
  'a file of the node’s root',
  'a bomb of processes'
]

t.test('nobody gets out of a container, and the same program does where its wall is taken down', async (t) => {
  const stage = await EscapeStage.open(t)
  const chosen = attempts.filter(({ name }) => sample.includes(name))
  t.equal(chosen.length, sample.length, 'every name is that of an attempt')
  const lane = async (from: number): Promise<void> => {
    for (const attempt of chosen.filter((_, i) => i % 2 === from)) {
      const { kind, told } = await stage.play(attempt, 'runc', AbortSignal.timeout(60_000))
      t.equal(kind, 'held', `${attempt.wall}: ${attempt.name}: ${told}`)
    }
  }
  await Promise.all([lane(0), lane(1)])
})
