import { readFileSync } from 'node:fs'

/** Milliseconds since the kernel's start, the time asleep included (proc(5), /proc/uptime: CLOCK_BOOTTIME in 10 ms). */
export interface BootClock {
  nowMs(): number
}

export const systemBootClock: BootClock = {
  nowMs: () => Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ', 1)[0]) * 1_000)
}

/** USER_HZ, in which /proc tells times: 100 on every architecture that Node runs on. */
export const msPerTick = 10
