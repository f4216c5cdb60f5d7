import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../base/fault.ts'

/** For what nothing announces. Never part of a measured time. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const until = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > until) throw new Fault('timeout', `waited ${withinMs} ms in vain for ${what}`)
    await pause(2)
  }
}
