import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'

/** The disk that an I/O limit is of: the kernel limits whole disks, not partitions (cgroup-v2, "io.max"). */
export interface Disk {
  /** `8:0` */
  readonly number: string
}

const refuse = (path: string, why: string, cause?: unknown): Fault =>
  new Fault('invalid', `the I/O limit of ${path}: ${why}`, { reason: 'unsupported_request', path }, cause)

/** Throws `Fault('invalid')` where the path names no disk of this node. `sys`: where sysfs is mounted. */
export function diskOf(path: string, sys = '/sys'): Disk {
  let device: number
  try {
    const facts = statSync(path)
    device = facts.isBlockDevice() ? facts.rdev : facts.dev
  } catch (e) {
    throw refuse(path, errnoOf(e) === 'ENOENT' ? 'there is no such file on this node' : 'it cannot be looked at', e)
  }
  const number = `${majorOf(device)}:${minorOf(device)}`
  const link = join(sys, 'dev/block', number)
  if (!existsSync(link))
    throw refuse(path, 'it lies on no disk of its own (a tmpfs, an overlay or a network): name the disk itself')
  const real = realpathSync(link)
  const whole = existsSync(join(real, 'partition')) ? dirname(real) : real
  return { number: readFileSync(join(whole, 'dev'), 'utf8').trim() }
}

/** As glibc takes a dev_t apart (sys/sysmacros.h); with 52 bits it is a safe integer. */
function majorOf(device: number): number {
  const [high, low] = [Math.floor(device / 2 ** 32), device % 2 ** 32]
  return ((low >>> 8) & 0xfff) + (high & ~0xfff)
}

const minorOf = (device: number): number => ((device % 2 ** 32) & 0xff) + (((device % 2 ** 32) >>> 12) & 0xfff00)
