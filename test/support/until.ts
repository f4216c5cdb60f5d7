import { setTimeout as pause } from 'node:timers/promises'

/** Resolves as soon as `holds`; for what the kernel does not announce. The test runner's own timeout is the bound. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(5)
}
