import { join } from 'node:path'

/** Where things lie in the state directory (docs/architecture.md). */
export interface StateLayout {
  readonly stateDir: string
  readonly identity: string
  readonly token: string
  /** There where this host has joined the cluster of another host's master. */
  readonly joinedMasters: string
  readonly run: string
  readonly logs: string
  readonly masterSocket: string
  readonly agentSocket: string
  readonly httpAddress: string
  readonly listenAddress: string
  readonly supervisor: string
  readonly upLock: string
}

export const stateLayout = (stateDir: string): StateLayout => ({
  stateDir,
  identity: join(stateDir, 'identity.json'),
  token: join(stateDir, 'token'),
  joinedMasters: join(stateDir, 'identity/masters'),
  run: join(stateDir, 'run'),
  logs: join(stateDir, 'logs'),
  masterSocket: join(stateDir, 'run/master.sock'),
  agentSocket: join(stateDir, 'run/agent.sock'),
  httpAddress: join(stateDir, 'run/http'),
  listenAddress: join(stateDir, 'run/listen'),
  supervisor: join(stateDir, 'run/supervisor.json'),
  upLock: join(stateDir, 'run/up.lock')
})

export const daemonLog = (layout: StateLayout, name: string): string => join(layout.logs, `${name}.log`)
