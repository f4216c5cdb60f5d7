import { execFile } from 'node:child_process'
import { constants } from 'node:os'
import type { Exec, ExecOptions, ExecResult } from '../../base/exec.ts'
import { Fault } from '../../base/fault.ts'

const defaultMaxOutputBytes = 1024 * 1024

/** Debian's package of a program, where it is not named like the program. */
const packages: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  tc: 'iproute2',
  bridge: 'iproute2',
  nft: 'nftables',
  umount: 'mount',
  losetup: 'mount',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  flock: 'util-linux',
  setpriv: 'util-linux',
  busybox: 'busybox-static',
  'mkfs.ext4': 'e2fsprogs',
  chattr: 'e2fsprogs'
}

/**
 * Runs rare short programs. A missing program is `Fault('unavailable')` and names the package to install, a passed deadline
 * is `timeout`, too much output is `exhausted`; when the signal aborts, its reason is thrown after the program has ended.
 */
export const systemExec: Exec = { run }

async function run(program: string, args: readonly string[], options: ExecOptions, signal: AbortSignal): Promise<ExecResult> {
  signal.throwIfAborted()
  // Loaded at the first call: nothing that an idle agent should hold.
  const { execa } = await import('execa')
  const result = await execa(program, [...args], {
    reject: false,
    stripFinalNewline: false,
    maxBuffer: options.maxOutputBytes ?? defaultMaxOutputBytes,
    cancelSignal: signal,
    forceKillAfterDelay: 1_000,
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs })
  })
  signal.throwIfAborted()
  if (result.isMaxBuffer) throw new Fault('exhausted', `${program} wrote more than it may`, { program })
  if (result.timedOut) {
    throw new Fault('timeout', `${program} did not end within ${options.timeoutMs} ms`, { program })
  }
  const code = exitCode(result.exitCode, result.signal)
  if (code === undefined) throw notRun(program, result.cause)
  return { code, stdout: result.stdout, stderr: result.stderr }
}

/** The same for the start, which is measured in milliseconds: execa alone takes as long to load as Node to begin. No input, no env. */
export const startExec: Exec = {
  run(program, args, options, signal) {
    const maxBuffer = options.maxOutputBytes ?? defaultMaxOutputBytes
    const timeout = options.timeoutMs ?? 0
    return new Promise((resolve, reject) => {
      const child = execFile(
        program,
        [...args],
        { maxBuffer, timeout, signal, killSignal: 'SIGKILL' },
        (error, stdout, stderr) => {
          const code = exitCode(child.exitCode ?? undefined, child.signalCode ?? undefined)
          if (signal.aborted) reject(signal.reason as Error)
          else if (error?.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') {
            reject(new Fault('exhausted', `${program} wrote more than it may`, { program }))
          } else if (error?.killed === true) {
            reject(new Fault('timeout', `${program} did not end within ${timeout} ms`, { program }))
          } else if (code === undefined) reject(notRun(program, error))
          else resolve({ code, stdout, stderr })
        }
      )
    })
  }
}

function exitCode(code: number | undefined, signal: NodeJS.Signals | undefined): number | undefined {
  return signal === undefined ? code : 128 + constants.signals[signal]
}

function notRun(program: string, cause: unknown): Fault {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
  if (errno === 'ENOENT') return missingProgram(program, cause)
  return new Fault('unavailable', `${program} cannot be run: ${errno}`, { program, errno }, cause)
}

export function missingProgram(program: string, cause?: unknown): Fault {
  const name = packages[program] ?? program
  return new Fault('unavailable', `${program} is not installed: apt-get install ${name}`, { program, errno: 'ENOENT' }, cause)
}
