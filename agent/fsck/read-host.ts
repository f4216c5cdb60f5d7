import { readdirSync, readFileSync } from 'node:fs'

/** Reads for those who only look: what is not there, or is gone meanwhile, says nothing. */

export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // not there: nothing of the kind is
  }
}

export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // gone, or no file: it says nothing
  }
}

export interface Mount {
  readonly point: string
  readonly fileSystem: string
  readonly source: string
}

/** This mount namespace's mounts (proc(5), mountinfo: field 5 is the point, type and source stand after ` - `; octal escapes). */
export function mountTable(): readonly Mount[] {
  return textOf('/proc/self/mountinfo')
    .split('\n')
    .map((line) => {
      const [head = '', tail = ''] = line.split(' - ')
      const [fileSystem = '', source = ''] = tail.split(' ')
      return { point: unescaped(head.split(' ')[4] ?? ''), fileSystem, source: unescaped(source) }
    })
}

/** Mounts at or below the directories. */
export const mountsBelow = (directories: readonly string[]): readonly Mount[] =>
  mountTable().filter(({ point }) => directories.some((directory) => point === directory || point.startsWith(`${directory}/`)))

const unescaped = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
