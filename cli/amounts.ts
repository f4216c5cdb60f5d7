import { Fault } from '../base/fault.ts'

const byteUnits: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }
const timeUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, '': 1000 }

/** `64m`, `1.5g`, `64MiB`, `4096` as docker reads them: binary multiples, bytes without a unit. */
export function parseBytes(option: string, text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(number) * (byteUnits[unit.toLowerCase()] ?? Number.NaN))
  if (number === '' || !Number.isSafeInteger(bytes) || bytes === 0) {
    throw new Fault('invalid', `${option} must be a size such as 64m or 1.5g, not ${JSON.stringify(text)}`)
  }
  return bytes
}

/** `0.5` or `2`: thousandths of a CPU. */
export function parseCpus(option: string, text: string): number {
  const milliCpu = /^\d+(?:\.\d+)?$|^\.\d+$/.test(text) ? Math.round(Number(text) * 1000) : 0
  if (!Number.isSafeInteger(milliCpu) || milliCpu < 1) {
    throw new Fault('invalid', `${option} must be a number of CPUs such as 0.5 or 2, not ${JSON.stringify(text)}`)
  }
  return milliCpu
}

/** `10s`, `1.5m`, `2h`, or a plain number of seconds. Milliseconds. */
export function parseDuration(option: string, text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d|)$/.exec(text) ?? []
  const ms = Math.round(Number(number) * (timeUnits[unit] ?? Number.NaN))
  if (number === '' || !Number.isSafeInteger(ms)) {
    throw new Fault('invalid', `${option} must be a time such as 10s, 5m or 2h, not ${JSON.stringify(text)}`)
  }
  return ms
}

/** `10m` for ten minutes ago, or a time such as 2026-11-22T05:00:00Z. Milliseconds since 1970. */
export function parseMoment(option: string, text: string, nowMs: number): number {
  if (/^\d+(\.\d+)?(ms|s|m|h|d|)$/.test(text)) return Math.max(0, nowMs - parseDuration(option, text))
  const ms = Date.parse(text)
  if (/^\d{4}-/.test(text) && ms >= 0) return ms
  throw new Fault(
    'invalid',
    `${option} must be a time ago such as 10m, or a time such as 2026-11-22T05:00:00Z, not ${JSON.stringify(text)}`
  )
}

export function parseCount(option: string, text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(count)) throw new Fault('invalid', `${option} must be a whole number, not ${JSON.stringify(text)}`)
  return count
}

const sizes = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Binary multiples with at most three digits: `512 B`, `64 MB`, `1.5 GB`. */
export function showBytes(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1024 && step < sizes.length - 1) {
    value /= 1024
    step += 1
  }
  return `${value < 10 && step > 0 ? trimZero(value.toFixed(1)) : Math.round(value)} ${sizes[step]}`
}

export const showCpus = (milliCpu: number): string => trimZero((milliCpu / 1000).toFixed(milliCpu % 100 === 0 ? 1 : 3))

const trimZero = (text: string): string => text.replace(/\.0$/, '')

/** The two largest parts: `4s`, `2m 5s`, `3h 20m`, `12d`. */
export function showDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`
  return `${Math.floor(seconds / 86_400)}d`
}
