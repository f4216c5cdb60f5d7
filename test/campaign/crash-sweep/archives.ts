import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeBusyboxLayer } from '../../support/busybox-layer.ts'

const tar = (folder: string, names: readonly string[]): Buffer =>
  execFileSync('tar', ['-C', folder, '--numeric-owner', '-cf', '-', ...names], { maxBuffer: 64 * 1024 * 1024 })

function inFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'hsa-'))
  try {
    return work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What somebody copies into a sandbox: a file, a folder, a link. */
export const sandboxArchive = (): Buffer =>
  inFolder((folder) => {
    mkdirSync(join(folder, 'notes'))
    writeFileSync(join(folder, 'notes/one'), 'here')
    symlinkSync('one', join(folder, 'notes/link'))
    return tar(folder, ['notes'])
  })

let rootfs: Buffer | undefined

/** A root file system with what layers may hold: folders, files, links of both kinds, a device. */
export function rootfsArchive(): Buffer {
  rootfs ??= inFolder((folder) => {
    makeBusyboxLayer(folder)
    execFileSync('ln', ['bin/busybox', 'bin/linked'], { cwd: folder })
    execFileSync('mknod', ['dev/zero', 'c', '1', '5'], { cwd: folder })
    return tar(folder, ['.'])
  })
  return rootfs
}

let image: Buffer | undefined

/** The same as an archive of Docker's, its second layer with a whiteout, one layer packed by gzip and one by zstd. */
export function dockerArchive(): Buffer {
  image ??= inFolder((folder) => {
    const first = rootfsArchive()
    const second = inFolder((layer) => {
      mkdirSync(join(layer, 'bin'))
      writeFileSync(join(layer, 'bin/.wh.linked'), '')
      return tar(layer, ['bin'])
    })
    const pack = (program: string, input: Buffer): Buffer => execFileSync(program, ['-c'], { input, maxBuffer: 64 * 1024 * 1024 })
    writeFileSync(join(folder, 'one.tar'), pack('gzip', first))
    writeFileSync(join(folder, 'two.tar'), pack('zstd', second))
    const digest = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    const config = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digest(first), digest(second)] } }
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    const manifest = [{ Config: 'config.json', RepoTags: ['swept:2'], Layers: ['one.tar', 'two.tar'] }]
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
    return tar(folder, ['manifest.json', 'config.json', 'one.tar', 'two.tar'])
  })
  return image
}
