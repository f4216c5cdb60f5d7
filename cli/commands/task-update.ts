import { Fault } from '../../base/fault.ts'
import type { UpdateRequest } from '../../sdk/operator-messages.ts'
import { parseBytes, parseCpus } from '../amounts.ts'
import { type CommonOptions, type Context, writeOut } from '../context.ts'
import { type LimitOptions, parseLimits } from '../limit-options.ts'
import { showResources } from '../output/resources.ts'

interface UpdateOptions extends CommonOptions, LimitOptions {
  readonly memory?: string
  readonly cpus?: string
  readonly force?: boolean
}

/** Prints what the task has from now on. */
export async function updateTask(context: Context, id: string, options: UpdateOptions): Promise<number> {
  const task = await context.client(options).tasks.update(id, updateOf(options), context.signal)
  const { stdout } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(task, null, 2)}\n`)
  else await writeOut(stdout, `${task.name || task.taskId}: ${showResources(task.resources)}\n`)
  return 0
}

function updateOf(options: UpdateOptions): UpdateRequest {
  const limits = parseLimits(options)
  const asked = {
    ...(options.memory === undefined ? {} : { memoryBytes: parseBytes('--memory', options.memory) }),
    ...(options.cpus === undefined ? {} : { milliCpu: parseCpus('--cpus', options.cpus) }),
    ...(limits === undefined ? {} : { limits })
  }
  if (Object.keys(asked).length === 0)
    throw new Fault('invalid', 'nothing is to be changed: give --memory, --cpus or another limit')
  return { ...asked, ...(options.force === true ? { force: true } : {}) }
}
