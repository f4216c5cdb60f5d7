// The virtual machine of `npm run test:vm`: a Debian root disk, its kernel and a small initial disk, built once and kept in .cache/vm.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { basename, join } from 'node:path'
import { giveUp, root } from './bootstrap.mjs'

/** The oldest Debian that Hearth supports. */
const suite = 'bookworm'
const system = 'systemd systemd-sysv udev dbus kmod procps linux-image-cloud-amd64 busybox-static'
/** What the package of Hearth depends on, and crun; no Node. */
const hearthNeeds = 'runc crun conmon iproute2 nftables golang-github-containers-common zstd libstdc++6'
const packages = `${system} ${hearthNeeds}`.split(' ')

/** The emulated processor would spend its first seconds on these, and no test looks at them. */
const masked = [
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'dpkg-db-backup.timer', 'e2scrub_all.timer', 'fstrim.timer'],
  ...['e2scrub_reap.service', 'getty.target', 'ldconfig.service', 'systemd-firstboot.service', 'systemd-hwdb-update.service'],
  ...['systemd-journal-catalog-update.service', 'systemd-update-utmp.service', 'systemd-random-seed.service'],
  ...['systemd-pcrphase.service', 'systemd-pcrphase-sysinit.service', 'systemd-logind.service', 'systemd-timesyncd.service'],
  ...['dev-hugepages.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount']
]
const bootModules = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4']
const guest = join(root, 'test/vm/guest')
const folder = join(root, '.cache/vm')
const diskBytes = 4 * 1024 ** 3

/** Paths of the kernel, the initial disk and the root disk; builds what is missing or older than its recipe. */
export function ensureImage() {
  const recipe = [readFileSync(import.meta.filename), ...readdirSync(guest).map((name) => readFileSync(join(guest, name)))]
  const stamp = createHash('sha256').update(Buffer.concat(recipe)).digest('hex').slice(0, 16)
  const image = { kernel: join(folder, 'vmlinuz'), initialDisk: join(folder, 'initrd'), rootDisk: join(folder, 'root.img') }
  const stampFile = join(folder, 'stamp')
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return image
  console.log(`hearth: building the virtual machine's disk in ${folder}`)
  rmSync(stampFile, { force: true })
  mkdirSync(folder, { recursive: true })
  const tree = join(folder, 'root')
  rmSync(tree, { recursive: true, force: true })
  mkdirSync(tree)
  run('tar', ['-C', tree, '--numeric-owner', '-xf', debian()])
  configure(tree)
  writeInitialDisk(tree, image.initialDisk)
  copyFileSync(
    join(
      tree,
      'boot',
      readdirSync(join(tree, 'boot')).find((name) => name.startsWith('vmlinuz-'))
    ),
    image.kernel
  )
  writeDisk(tree, image.rootDisk)
  rmSync(tree, { recursive: true })
  writeFileSync(stampFile, stamp)
  return image
}

/** Writes the folder into a new ext4 disk of that many bytes, which the file system need not take up. */
export function writeDisk(tree, path, bytes = diskBytes) {
  writeFileSync(`${path}.draft`, '')
  truncateSync(`${path}.draft`, bytes)
  run('mkfs.ext4', ['-q', '-F', '-m0', '-E', 'lazy_itable_init=1,lazy_journal_init=1', '-d', tree, `${path}.draft`])
  renameSync(`${path}.draft`, path)
}

/** A tar of the packages, from the machine's own apt configuration; kept until their list changes. */
function debian() {
  const name = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 16)
  const archive = join(folder, `debian-${name}.tar`)
  if (existsSync(archive)) return archive
  const without = ['/usr/share/doc/*', '/usr/share/locale/*', '/etc/kernel/postinst.d/initramfs-tools']
  const options = ['--aptopt=APT::Install-Recommends "false"', ...without.map((path) => `--dpkgopt=path-exclude=${path}`)]
  const include = `--include=${packages.join(',')}`
  run('mmdebstrap', ['--quiet', '--format=tar', '--variant=minbase', ...options, include, suite, `${archive}.draft`])
  renameSync(`${archive}.draft`, archive)
  return archive
}

function configure(tree) {
  const put = (path, text) => {
    mkdirSync(join(tree, path, '..'), { recursive: true })
    writeFileSync(join(tree, path), text)
  }
  put('etc/hostname', 'hearth-vm\n')
  put('etc/hosts', '127.0.0.1 localhost hearth-vm\n')
  put('etc/fstab', '')
  put('etc/machine-id', '')
  put('etc/resolv.conf', '')
  mkdirSync(join(tree, 'var/log/journal'), { recursive: true })
  const units = join(tree, 'etc/systemd/system')
  for (const unit of masked) run('ln', ['-sf', '/dev/null', join(units, unit)])
  run('ln', ['-sf', '/lib/systemd/system/multi-user.target', join(units, 'default.target')])
  copyFileSync(join(guest, 'hearth-vm-runner'), join(tree, 'usr/local/sbin/hearth-vm-runner'))
  chmodSync(join(tree, 'usr/local/sbin/hearth-vm-runner'), 0o755)
  const unit = 'hearth-vm-runner.service'
  copyFileSync(join(guest, unit), join(units, unit))
  mkdirSync(join(units, 'multi-user.target.wants'), { recursive: true })
  run('ln', ['-sf', `../${unit}`, join(units, 'multi-user.target.wants', unit)])
}

/** busybox and the modules without which the kernel sees no root disk. */
function writeInitialDisk(tree, path) {
  const disk = join(folder, 'initial')
  rmSync(disk, { recursive: true, force: true })
  for (const name of ['bin', 'dev', 'proc', 'root', 'modules']) mkdirSync(join(disk, name), { recursive: true })
  copyFileSync(join(tree, 'bin/busybox'), join(disk, 'bin/busybox'))
  copyFileSync(join(guest, 'init.sh'), join(disk, 'init'))
  for (const program of ['bin/busybox', 'init']) chmodSync(join(disk, program), 0o755)
  const [kernel] = readdirSync(join(tree, 'usr/lib/modules'))
  const depends = (name) => run('chroot', [tree, '/sbin/modprobe', '-S', kernel, '--show-depends', name]).split('\n')
  const files = bootModules.flatMap(depends).flatMap((line) => /^insmod (\S+)/.exec(line)?.[1] ?? [])
  const order = [...new Set(files)]
  for (const file of order) copyFileSync(join(tree, file), join(disk, 'modules', basename(file)))
  writeFileSync(join(disk, 'modules/order'), order.map((file) => `${basename(file)}\n`).join(''))
  run('sh', ['-c', 'cd "$1" && find . | cpio --quiet -o -H newc > "$2"', 'sh', disk, path])
  rmSync(disk, { recursive: true })
}

function run(program, args) {
  const done = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1024 ** 2 * 16 })
  if (done.error !== undefined) giveUp(`${program} could not be started: ${done.error.message}`)
  if (done.status !== 0) giveUp(`${program} failed: ${done.stderr.trim().slice(-2000)}`)
  return done.stdout
}
