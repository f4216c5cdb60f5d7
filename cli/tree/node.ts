import type { Command } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addNodeCommands(program: Command, shell: Shell): void {
  const node = group(program, 'node', 'the machines of the cluster')

  const list = leaf(node, 'list', 'list nodes').alias('ls').addOption(jsonOption())
  list.action((options) => shell.run(async (c) => (await import('../commands/node.ts')).listNodes(c, options)))

  const health = () => import('../commands/node-health.ts')
  const here = 'id, start of an id, or host name; without it this host, with or without a master'
  leaf(node, 'health', 'look at everything that can be wrong with a node; exit code 0 OK, 1 WARNING, 2 FAILURE, 3 UNKNOWN')
    .addOption(jsonOption())
    .argument('[node]', here)
    .action((id: string | undefined, options) => shell.run(async (c) => (await health()).nodeHealth(c, id, options)))
  leaf(node, 'top', 'show what the tasks of a node use')
    .addOption(jsonOption())
    .argument('[node]', here)
    .action((id: string | undefined, options) => shell.run(async (c) => (await health()).nodeTop(c, id, options)))
  leaf(node, 'isolators', 'show what separates the containers of a node, what is missing there and why')
    .addOption(jsonOption())
    .argument('[node]', here)
    .action((id: string | undefined, options) =>
      shell.run(async (c) => (await import('../commands/node-isolators.ts')).nodeIsolators(c, id, options))
    )
  leaf(node, 'metrics', 'print the metrics of a node and its tasks as Prometheus text')
    .argument('[node]', here)
    .action((id: string | undefined, options) => shell.run(async (c) => (await health()).nodeMetrics(c, id, options)))
  leaf(node, 'fsck', 'compare the ledger of a node with what its kernel shows; exit code 0 they agree, 1 they differ')
    .addOption(jsonOption())
    .option('--repair', 'adopt or remove what is provably Hearth’s and has no row')
    .argument('[node]', 'id, start of an id, or host name; without it this host, with or without an agent')
    .action((id: string | undefined, options) =>
      shell.run(async (c) => (await import('../commands/node-fsck.ts')).nodeFsck(c, id, options))
    )

  const show = leaf(node, 'show', 'show one node: resources, attributes, what it can do').addOption(jsonOption())
  show.argument('<node>', 'id, start of an id, or host name')
  show.action((id: string, options) => shell.run(async (c) => (await import('../commands/node.ts')).showNode(c, id, options)))

  const remove = leaf(
    node,
    'remove',
    'remove a node for good: its certificate is void, its tasks are lost, its id never comes back'
  )
  remove.option('-f, --force', 'also while it is connected or has tasks')
  remove.argument('<node>', 'id, start of an id, or host name')
  remove.action((id: string, options) =>
    shell.run(async (c) => (await import('../commands/node-remove.ts')).removeNode(c, id, options))
  )

  const stop = leaf(node, 'stop', 'stop the agent of this host; its tasks go on')
  stop.option('--workloads', 'end the tasks of this host first')
  stop.action((options) => shell.run(async (c) => (await import('../commands/node-stop.ts')).stopNode(c, options)))
}
