import type { Command } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addRaftCommands(program: Command, shell: Shell): void {
  const raft = group(program, 'raft', 'the log that the masters agree on')
  leaf(raft, 'status', 'show how each of the masters sees the log; exit code 0 one leads, 69 none does')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await import('../commands/raft-status.ts')).raftStatus(c, options)))
  const members = () => import('../commands/raft-members.ts')
  const waiting = 'tls:HOST:PORT, or tcp:127.0.0.1:PORT on one host, where a master that was started with --wait yes listens'
  leaf(raft, 'add', 'take waiting masters in; they vote once they have caught up and their number is odd')
    .addOption(jsonOption())
    .argument('<address...>', waiting)
    .action((addresses: string[], options) => shell.run(async (c) => (await members()).addMembers(c, addresses, options)))
  leaf(raft, 'remove', 'take a master out for good')
    .addOption(jsonOption())
    .argument('<member>', 'its number in hearth raft status')
    .action((id: string, options) => shell.run(async (c) => (await members()).removeMember(c, id, options)))
  leaf(raft, 'replace', 'let a waiting master take the place of one that is lost')
    .addOption(jsonOption())
    .argument('<member>', 'number of the one that is lost')
    .argument('<address>', waiting)
    .action((id: string, address: string, options) =>
      shell.run(async (c) => (await members()).replaceMember(c, id, address, options))
    )
  leaf(raft, 'transfer', 'hand leadership to another master')
    .addOption(jsonOption())
    .argument('[member]', 'its number; without it whoever lacks least')
    .action((id: string | undefined, options) => shell.run(async (c) => (await members()).transferLeadership(c, id, options)))
  leaf(raft, 'snapshot', 'let the leader take a snapshot and drop the log before it')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await members()).takeSnapshot(c, options)))
  leaf(raft, 'backup', 'write the whole state of the cluster to a file, and read it back')
    .addOption(jsonOption())
    .argument('<file>', 'replaced where it is there')
    .action((file: string, options) =>
      shell.run(async (c) => (await import('../commands/raft-backup.ts')).backUp(c, file, options))
    )
  leaf(raft, 'restore', 'put a backup into an empty state directory: a cluster of one master under a new id')
    .addOption(jsonOption())
    .argument('<file>', 'of hearth raft backup')
    .action((file: string, options) => shell.run(async (c) => (await offline()).runMaster(c, ['restore', file], options)))
  leaf(raft, 'recover', 'when no majority of the masters is left: make this host’s master a cluster of its own, with what it has')
    .addOption(jsonOption())
    .option('--others-are-lost', 'do it; without it only what this master has is told, and nothing is changed')
    .option('--from-agents', 'where no log is left at all: found a cluster whose tasks are those that agents report')
    .option('--cluster-id <id>', 'of the lost cluster, for --from-agents')
    .action((options) =>
      shell.run(async (c) => {
        const sure = options.othersAreLost === true ? ['--others-are-lost'] : []
        const lost = options.clusterId === undefined ? [] : ['--cluster-id', options.clusterId]
        const fromAgents = options.fromAgents === true ? ['--from-agents'] : []
        return (await offline()).runMaster(c, ['recover', ...sure, ...fromAgents, ...lost], options)
      })
    )
  const wal = group(raft, 'wal', 'the log of this host’s master as it lies on the disk, whether the master runs or not')
  const offline = () => import('../commands/raft-offline.ts')
  leaf(wal, 'inspect', 'print every record of the log: segment, offset, kind, index, term, bytes')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await offline()).runMaster(c, ['wal', 'inspect'], options)))
  leaf(wal, 'verify', 'read log and snapshots as a start would; exit code 0 sound, 74 damaged')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await offline()).runMaster(c, ['wal', 'verify'], options)))
}
