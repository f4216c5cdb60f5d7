export interface ExecResult {
  /** The exit code; 128 + signal number where a signal ended the program. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface ExecOptions {
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
  /** More output than this ends the program. Default 1 MiB. */
  readonly maxOutputBytes?: number
}

/** The port through which any short program is run. Arguments are an array; there is never a shell string. */
export interface Exec {
  /** Resolves with the result whatever the exit code; rejects with a `Fault` where the program cannot be run at all. */
  run(program: string, args: readonly string[], options: ExecOptions, signal: AbortSignal): Promise<ExecResult>
}
