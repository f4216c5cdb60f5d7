import { readFileSync } from 'node:fs'
import { uptime } from 'node:os'

/** Milliseconds since the kernel's start, the time asleep included (proc(5), /proc/uptime: CLOCK_BOOTTIME in 10 ms). */
export interface BootClock {
  nowMs(): number
}

/** A clock never fails: leases and restarts count on it. */
export const systemBootClock: BootClock = {
  nowMs: () => Math.round(readUptime() * 1_000)
}

function readUptime(): number {
  try {
    return Number(readFileSync('/proc/uptime', 'utf8').split(' ', 1)[0])
  } catch {
    return uptime() // clock_gettime(CLOCK_BOOTTIME) where the file cannot be read
  }
}

/** USER_HZ, in which /proc tells times: 100 on every architecture that Node runs on. */
export const msPerTick = 10
