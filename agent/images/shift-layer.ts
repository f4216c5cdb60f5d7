import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import type { ShiftedLayer, ShiftRequest } from './unpack-message.ts'

/** What a user database calls nobody: the place of ids that the range has no room for. */
const nobody = 65_534

/**
 * Gives every file of a layer to the ids of a range, in `upper` of the draft: through an overlay over the layer that copies owners and
 * modes and no content (Documentation/filesystems/overlayfs, "Metadata only copy up"). To be run in a mount namespace of its own.
 */
export function shiftLayer({ draft, layer, first, count }: ShiftRequest): ShiftedLayer {
  const [upper, work, merged] = [join(draft, 'upper'), join(draft, 'work'), join(draft, 'merged')]
  for (const folder of [upper, work, merged]) fs.mkdirSync(folder, { mode: 0o755 })
  // `volatile`: nothing is waited for; who uses the result knows when it is on the disk.
  const options = `lowerdir=${escaped(layer)},upperdir=${escaped(upper)},workdir=${escaped(work)},metacopy=on,volatile`
  run('mount', ['-t', 'overlay', '-o', options, 'none', merged])
  try {
    const idOf = (id: number): number => first + (id < count ? id : nobody)
    const { entries, programs } = shiftTree(Buffer.from(merged, 'utf8').toString('latin1'), idOf)
    return { entries, capabilities: keepCapabilities(programs, { layer, merged, first }) }
  } finally {
    run('umount', ['--', merged])
  }
}

/** `root`: one byte to a character, as names of files are any bytes. Tells how many entries there were, and which may be programs. */
function shiftTree(root: string, idOf: (id: number) => number) {
  const open = [root]
  const programs: string[] = []
  let entries = 0
  shift(Buffer.from(root, 'latin1'), idOf)
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    for (const entry of fs.readdirSync(Buffer.from(folder, 'latin1'), { withFileTypes: true, encoding: 'buffer' })) {
      const path = `${folder}/${entry.name.toString('latin1')}`
      const mode = shift(Buffer.from(path, 'latin1'), idOf)
      if (mode === undefined) continue
      entries += 1
      if (entry.isDirectory()) open.push(path)
      else if (entry.isFile() && (mode & 0o111) !== 0) programs.push(path.slice(root.length))
    }
  }
  return { entries, programs }
}

/** The mode; undefined for a name that a whiteout takes away: folders of one layer alone show it (overlayfs, "whiteouts"). */
function shift(path: Buffer, idOf: (id: number) => number): number | undefined {
  try {
    const { uid, gid, mode } = fs.lstatSync(path)
    fs.lchownSync(path, idOf(uid), idOf(gid))
    // chown(2) takes these bits from a file away.
    if ((mode & 0o6000) !== 0 && (mode & fs.constants.S_IFMT) === fs.constants.S_IFREG) fs.chmodSync(path, mode & 0o7777)
    return mode
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}

/** lgetxattr and lsetxattr, which Node does not have (syscalls(2)). */
const calls = { x64: ['192', '189'], arm64: ['9', '6'] }

/**
 * chown(2) takes a program's file capabilities away. What the layer says of them is said again of the view, as capabilities that count
 * in a user namespace whose root is the range's first id (capabilities(7), "Namespaced file capabilities": version 3 with a root id).
 */
const copyCapabilities = String.raw`
my ($get, $set, $first) = (shift, shift, shift);
my ($layer, $merged) = @ARGV;
my $name = "security.capability\0";
my $kept = 0;
$/ = "\0";
while (my $path = <STDIN>) {
  my ($from, $to, $value) = ("$layer$path", "$merged$path", "\0" x 64);
  my $size = syscall($get + 0, $from, $name, $value, 64);
  next if $size != 20 && $size != 12;
  my ($magic, @sets) = unpack $size == 20 ? 'V5' : 'V3', $value;
  my $shifted = pack 'V6', 0x03000000 | ($magic & 1), (@sets, 0, 0)[0 .. 3], $first;
  syscall($set + 0, $to, $name, $shifted, 24, 0) == 0 or die "the capabilities of $path: $!\n";
  $kept += 1;
}
print $kept;
`

interface Shifted {
  readonly layer: string
  readonly merged: string
  readonly first: number
}

/** How many programs have file capabilities; undefined where a host has no perl or no known processor, and none are kept. */
function keepCapabilities(programs: readonly string[], { layer, merged, first }: Shifted): number | undefined {
  const numbers = process.arch === 'x64' || process.arch === 'arm64' ? calls[process.arch] : undefined
  if (numbers === undefined) return undefined
  const paths = Buffer.from(programs.map((path) => `${path}\0`).join(''), 'latin1')
  try {
    return Number(run('perl', ['-e', copyCapabilities, ...numbers, String(first), layer, merged], paths))
  } catch (e) {
    if (isFault(e) && errnoOf(e.cause) === 'ENOENT') return undefined
    throw e
  }
}

const escaped = (path: string): string => path.replace(/[\\:,]/g, (c) => `\\${c}`)

/** What the program said. */
function run(program: string, words: readonly string[], input = Buffer.alloc(0)): string {
  const { status, stdout, stderr, error } = spawnSync(program, words, { encoding: 'utf8', input })
  if (status === 0) return stdout
  throw new Fault('unavailable', `${program} refused: ${error?.message ?? stderr.trim().split('\n')[0] ?? ''}`, {}, error)
}
