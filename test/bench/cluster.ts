import { join } from 'node:path'
import type { Bench } from './bench.ts'
import { run } from './programs.ts'

/** A whole cluster as `hearth up` makes it, on any free port, in a directory of its own. */
export interface Cluster {
  readonly program: string
  readonly stateDir: string
  readonly masterSocket: string
  readonly agentSocket: string
  stop(): Promise<void>
}

export async function startCluster(bench: Bench, name: string): Promise<Cluster> {
  const stateDir = bench.folder(name)
  const program = join(bench.root, 'dist/hearth.cjs')
  // Ctrl-C reaches the bench alone, which then ends the cluster in order.
  const options = { cwd: '/', detached: true, env: { PATH: process.env['PATH'], HEARTH_ALLOW_MOUNT: bench.folder('f') } }
  const say = (words: readonly string[]) => run(process.execPath, ['--', program, ...words, '--state-dir', stateDir], options)
  const stop = bench.cleanup.add('the cluster', () => say(['down', '--purge']))
  await say(['up', '--http', '127.0.0.1:0'])
  return {
    program,
    stateDir,
    masterSocket: join(stateDir, 'run/master.sock'),
    agentSocket: join(stateDir, 'run/agent.sock'),
    stop
  }
}
