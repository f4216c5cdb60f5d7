import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const applets =
  'sh echo cat sleep true false ls id stty env touch dd yes kill head wc mkdir rm printf seq mount umount ip hostname nc ps'.split(
    ' '
  )

/** A root file system of nothing but the statically linked busybox of the host. */
export function makeBusyboxLayer(directory: string): string {
  for (const folder of ['bin', 'etc', 'proc', 'dev', 'sys', 'tmp', 'root', 'sandbox'])
    mkdirSync(join(directory, folder), { recursive: true })
  copyFileSync('/bin/busybox', join(directory, 'bin/busybox'))
  for (const applet of applets) symlinkSync('busybox', join(directory, 'bin', applet))
  writeFileSync(join(directory, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n')
  writeFileSync(join(directory, 'etc/group'), 'root:x:0:\nweb:x:1000:\n')
  return directory
}
