import type { ReadStream, WriteStream } from 'node:tty'
import { type EndpointSettings, endpointSettings, findEndpoints } from '../sdk/endpoint.ts'
import { OperatorClient } from '../sdk/operator-client.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** The process as commands see it; tests hand in streams of their own. */
export interface Streams {
  readonly stdin: NodeJS.ReadableStream & Partial<Pick<ReadStream, 'isTTY' | 'setRawMode' | 'unref'>>
  readonly stdout: Output
  readonly stderr: Output
}

export type Output = NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns' | 'rows'>>

/** What every command gets besides its own options. */
export interface Context {
  readonly env: Environment
  readonly streams: Streams
  /** Aborts when the command should give up. */
  readonly signal: AbortSignal
  settings(options: CommonOptions): EndpointSettings
  client(options: CommonOptions): OperatorClient
}

export interface CommonOptions {
  readonly stateDir?: string
  readonly json?: boolean
}

export function createContext(env: Environment, streams: Streams, signal: AbortSignal): Context {
  const settings = (options: CommonOptions): EndpointSettings => endpointSettings(env, options.stateDir)
  return { env, streams, signal, settings, client: (options) => new OperatorClient(findEndpoints(settings(options))) }
}

/** The same, with a state directory for commands that were not given one of their own. */
export function withStateDir(context: Context, stateDir: string): Context {
  const filled = (options: CommonOptions): CommonOptions => ({ ...options, stateDir: options.stateDir ?? stateDir })
  return {
    ...context,
    settings: (options) => context.settings(filled(options)),
    client: (options) => context.client(filled(options))
  }
}

/** The reader of our standard output has gone: there is nobody left to tell anything. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed'
}

/** Columns to fit into; undefined where the output is no terminal and lines may be as long as they are. */
export const widthOf = (output: Output): number | undefined => (output.isTTY === true ? (output.columns ?? 80) : undefined)

export const wantsColour = (output: Output, env: Environment): boolean =>
  output.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'

/** Waits while the reader of the output is slower than we are. */
export async function writeOut(output: Output, data: Uint8Array | string): Promise<void> {
  if (output.write(data)) return
  await new Promise<void>((resolve, reject) => {
    const done = (): void => {
      output.removeListener('error', failed)
      resolve()
    }
    const failed = (e: Error): void => {
      output.removeListener('drain', done)
      reject(e)
    }
    output.once('drain', done)
    output.once('error', failed)
  })
}
