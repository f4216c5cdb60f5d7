import { type Command, Option } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addClusterCommands(program: Command, shell: Shell): void {
  const cluster = group(program, 'cluster', 'who belongs to the cluster')
  const command = () => import('../commands/cluster.ts')

  const init = leaf(cluster, 'init', 'start a master alone on this host; hearth up does so too, with an agent beside it')
  init.option('--listen <address>', 'where other hosts come in, over TLS, such as 0.0.0.0, or off (HEARTH_LISTEN, default off)')
  init.option('--http <address>', 'where the API listens for programs of this host, or off (HEARTH_HTTP)')
  init.action((options) => shell.run(async (c) => (await import('../commands/cluster-init.ts')).initCluster(c, options)))

  leaf(cluster, 'show', 'show the cluster’s id, its certificate authorities and the nodes that have certificates')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).showCluster(c, options)))

  const authority = group(cluster, 'ca', 'the authority that signs certificates')
  leaf(authority, 'rotate', 'let a new authority sign; the old one is trusted until it is retired')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).rotateAuthority(c, options)))
  leaf(authority, 'retire', 'trust the old authority no longer, once no node has a certificate of it').action((options) =>
    shell.run(async (c) => (await command()).retireAuthority(c, options))
  )

  const token = group(cluster, 'token', 'what lets hosts in')
  leaf(token, 'create', 'make a token; its secret is printed this once')
    .addOption(jsonOption())
    .addOption(new Option('--role <role>', 'what it lets in').choices(['agent', 'master']).default('agent'))
    .option('--ttl <time>', 'how long it is good, such as 30m, 1h or 7d', '1h')
    .option('--uses <count>', 'how many hosts it lets in', '1')
    .action((options) => shell.run(async (c) => (await command()).createToken(c, options)))
  leaf(token, 'list', 'list tokens that are good; never their secrets')
    .alias('ls')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).listTokens(c, options)))
  leaf(token, 'revoke', 'let nobody in with it any more; who has come in stays')
    .alias('rm')
    .argument('<token>', 'its id: the second part of the token')
    .action((id: string, options) => shell.run(async (c) => (await command()).revokeToken(c, id, options)))
}
