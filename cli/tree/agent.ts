import type { Command } from 'commander'
import { group, leaf, type Shell } from './shell.ts'

export function addAgentCommands(program: Command, shell: Shell): void {
  const agent = group(program, 'agent', 'the agent of this host')
  const join = leaf(agent, 'join', 'make this host a node of another host’s cluster: certificate, agent, registered')
  join.argument('<host>', 'a master of the cluster: HOST, HOST:PORT or [ADDRESS]:PORT; the port is 7341 where none is given')
  join.option('--token <token>', 'what hearth cluster token create has printed (HEARTH_JOIN_TOKEN)')
  join.option('--token-file <file>', 'the same from a file, out of the list of processes')
  join.action((host: string, options) =>
    shell.run(async (c) => (await import('../commands/agent-join.ts')).joinAgent(c, host, options))
  )
}
