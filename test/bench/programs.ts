import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { Fault } from '../../base/fault.ts'
import { eventually } from './eventually.ts'

/** Runs a program to its end; its output is only read where it fails. */
export function run(program: string, args: readonly string[], options: SpawnOptions = {}): Promise<void> {
  const child = spawn(program, [...args], { stdio: ['ignore', 'ignore', 'pipe'], ...options })
  let words = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (words.length < 4_000) words += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Fault('unavailable', `${program} ${args.slice(0, 4).join(' ')} ended with ${code}: ${words.trim()}`))
    })
  })
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** SIGTERM, then after `graceMs` SIGKILL; resolves when it has ended. */
export async function end(child: ChildProcess, graceMs = 10_000): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  await closed
  clearTimeout(timer)
}

/** SIGKILL; resolves when it has ended. */
export async function killed(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGKILL')
  await closed
}

export async function awaitDeath(pids: readonly number[]): Promise<void> {
  await eventually(`processes ${pids.join(', ')} to end`, () => pids.every((pid) => !isAlive(pid)))
}
