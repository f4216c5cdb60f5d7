import { Fault } from '../../base/fault.ts'

/**
 * Why runc did not start the program, from what it wrote. Shells' codes go along in `detail.exitCode`: 127 for a program that
 * is not there, 126 for one that cannot be run.
 */
export function execRefusal(program: string, complaint: string): Fault {
  const said = lastMessage(complaint)
  if (/chdir|mkdir .*: not a directory/i.test(said)) {
    return new Fault('invalid', `the working directory is not there in the container: ${said}`, {
      reason: 'no_directory',
      exitCode: 126
    })
  }
  if (
    /executable file .*not found|exec: .*: no such file or directory|stat .*: no such file|open executable: no such file/i.test(
      said
    )
  ) {
    return new Fault('invalid', `the container has no program ${program}`, { reason: 'program_not_found', exitCode: 127 })
  }
  if (/permission denied|exec format error|is a directory/i.test(said)) {
    return new Fault('invalid', `${program} is in the container and cannot be executed`, {
      reason: 'program_not_executable',
      exitCode: 126
    })
  }
  if (/unable to find (user|group)|invalid (user|group)/.test(said)) {
    return new Fault('invalid', `the container has no such user: ${said}`, { reason: 'no_user', exitCode: 126 })
  }
  if (/does not exist|stopped container|not running/.test(said)) {
    return new Fault('conflict', 'the container has ended', { reason: 'ended', exitCode: 126 })
  }
  return new Fault('unavailable', `the runtime could not start ${program}: ${said}`, { reason: 'runtime', exitCode: 126 })
}

/** runc writes logrus lines (`level=error msg="…"`); the last one is the reason. */
function lastMessage(complaint: string): string {
  const messages = [...complaint.matchAll(/msg="((?:[^"\\]|\\.)*)"/g)]
  const last = messages.at(-1)?.[1]?.replace(/\\(.)/g, '$1')
  const text = last ?? complaint.trim().split('\n').at(-1) ?? ''
  return text === '' ? 'it gave no reason' : text.trim().slice(0, 500)
}
