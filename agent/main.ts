import { faultTable, isFault } from '../base/fault.ts'
import { type AgentConfig, readAgentConfig } from './config.ts'
import { startExec } from './host/exec.ts'
import { askVersions } from './host/program-versions.ts'

/** Runs an agent until SIGTERM. Its tasks go on without it. Resolves with the exit code. */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  try {
    const config = readAgentConfig(argv, env)
    return config.fsck ? await printFsck(config) : await start(config, env)
  } catch (e) {
    if (!isFault(e)) throw e
    process.stderr.write(`hearth agent: ${e.message}\n`)
    return faultTable[e.code].exitCode
  }
}

/** The other programs are asked first: they answer while the agent's own code is still being loaded. */
async function start(config: AgentConfig, env: Readonly<Record<string, string | undefined>>): Promise<number> {
  const asking = new AbortController()
  const versions = askVersions(startExec, config, asking.signal)
  versions.catch(() => undefined) // awaited where the host's facts are read
  const { run } = await import('./run.ts')
  return run({ config, env, versions, stopAsking: (reason) => asking.abort(reason) })
}

/** 0: clean, 1: findings, as `hearth node fsck`. */
async function printFsck(config: AgentConfig): Promise<number> {
  const { fsckWithoutAgent } = await import('./fsck/offline.ts')
  const report = await fsckWithoutAgent(config)
  process.stdout.write(`${JSON.stringify(report)}\n`)
  return report.findings.length === 0 ? 0 : 1
}
