import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../base/fault.ts'
import table from './host-tools.json' with { type: 'json' }

interface HostTool {
  readonly program: string
  readonly deb: string
  readonly rpm: string
  readonly why: string
}

/** The programs and files of the host without which no container runs, out of those that are not there. */
export function missingHostTools(folders: readonly string[]): readonly HostTool[] {
  return table.tools.filter((tool) => tool.need === 'run' && !isThere(tool.program, folders))
}

/** Throws `Fault('unsupported')` that names each missing tool, what it is for, and the commands that install it. */
export function requireHostTools(folders: readonly string[]): void {
  const missing = missingHostTools(folders)
  if (missing.length === 0) return
  const names = missing.map((tool) => `${tool.program} (${tool.why})`).join(', ')
  const packages = (kind: 'deb' | 'rpm'): string => [...new Set(missing.map((tool) => tool[kind]))].join(' ')
  const commands = `Debian, Ubuntu: sudo apt-get install -y ${packages('deb')}; Fedora, RHEL: sudo dnf install -y ${packages('rpm')}`
  throw new Fault('unsupported', `this host lacks ${names}. ${commands}`, { missing: missing.length })
}

/** Root's tools lie in sbin, which the path of `su` and of cron may lack. */
export const searchFolders = (path: string): readonly string[] =>
  [...path.split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'].filter((folder) => folder !== '')

function isThere(program: string, folders: readonly string[]): boolean {
  if (program.startsWith('/')) return existsSync(program)
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false // not in this folder
    }
  })
}
