import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { ConmonContainer } from './peers/conmon.ts'

/** Works through `items` with `atOnce` at work; after a failure no new one is begun, and all that were begun are waited for. */
export async function inLanes<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async (): Promise<void> => {
    try {
      for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item)
    } catch (e) {
      next = items.length
      throw e
    }
  }
  const failed = (await Promise.allSettled(Array.from({ length: atOnce }, lane))).find((r) => r.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** `read -t` on a pipe that never says anything pauses without a fork; the loop is as quick as bash can make it. */
const loop = `
exec 9<> <(:)
while read -r id pid exit_file root; do
  kill -9 "$pid"
  until [ -e "$exit_file" ]; do read -r -t 0.002 -u 9; done
  "$1" --root "$2" delete "$id" && umount "$root" || exit 1
done
`

/** Milliseconds from the start of the loops to the end of the last one. */
export async function removeByShell(
  containers: readonly ConmonContainer[],
  how: { readonly atOnce: number; readonly runc: string; readonly home: string }
): Promise<number> {
  const startMs = performance.now()
  await Promise.all(
    Array.from({ length: how.atOnce }, (_, lane) => {
      const words = containers.filter((_c, i) => i % how.atOnce === lane).map((c) => c.removalWords)
      return shell([loop, 'loop', how.runc, join(how.home, 'runc')], words)
    })
  )
  return performance.now() - startMs
}

function shell(args: readonly string[], lines: readonly string[]): Promise<void> {
  const child = spawn('bash', ['-c', ...args], { stdio: ['pipe', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = `${said}${text}`.slice(-500)
  })
  child.stdin.on('error', () => undefined) // the loop gave up; its exit code tells
  child.stdin.end(lines.map((line) => `${line}\n`).join(''))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Fault('unavailable', `the shell loop ended with ${code}: ${said.trim()}`))
    })
  })
}
