import type { Command } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addRaftCommands(program: Command, shell: Shell): void {
  const raft = group(program, 'raft', 'the log that the masters agree on')
  leaf(raft, 'status', 'show the log and its members as this host’s master sees them')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await import('../commands/raft-status.ts')).raftStatus(c, options)))
  const wal = group(raft, 'wal', 'the log of this host’s master as it lies on the disk, whether the master runs or not')
  const command = () => import('../commands/raft-wal.ts')
  leaf(wal, 'inspect', 'print every record of the log: segment, offset, kind, index, term, bytes')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).raftWal(c, 'inspect', options)))
  leaf(wal, 'verify', 'read log and snapshots as a start would; exit code 0 sound, 74 damaged')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).raftWal(c, 'verify', options)))
}
