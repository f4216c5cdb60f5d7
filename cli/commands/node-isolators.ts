import type { NodeIsolators } from '../../sdk/operator-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderTable } from '../output/table.ts'
import { atHome, noAgent } from './at-home.ts'

/** Of this host by its agent, of another node by the master. */
export async function nodeIsolators(context: Context, node: string | undefined, options: CommonOptions): Promise<number> {
  const answer =
    node === undefined
      ? await atHome(context, options, (agent) => agent.isolators(context.signal), noAgent)
      : await context.client(options).nodes.isolators(node, context.signal)
  const { stdout } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(answer, null, 2)}\n`)
  else await writeOut(stdout, describeIsolators(answer, widthOf(stdout)))
  return 0
}

interface Row {
  readonly isolator: string
  readonly state: string
  readonly capability: string
  readonly there: string
  readonly detail: string
}

/** One line for each capability, under the isolator that brings it. */
export function describeIsolators({ isolators, host }: NodeIsolators, width: number | undefined): string {
  const rows = isolators.flatMap(({ name, module, state, capabilities, troubles }): readonly Row[] => {
    const head = { isolator: name, state, capability: '', there: '', detail: module === null ? '' : `module ${module}` }
    const own = capabilities.map((c) => ({ isolator: '', state: '', ...told(c) }))
    const wrong = Object.values(troubles).map((detail) => ({ isolator: '', state: '', capability: '', there: '', detail }))
    return [head, ...own, ...wrong]
  })
  const others = host.map((c) => ({ isolator: '', state: '', ...told(c) }))
  const head = others.length === 0 ? [] : [{ isolator: '(the host)', state: '', capability: '', there: '', detail: '' }]
  return renderTable<Row>(
    [
      { title: 'ISOLATOR', value: (row) => row.isolator },
      { title: 'STATE', value: (row) => row.state },
      { title: 'CAPABILITY', value: (row) => row.capability },
      { title: 'THERE', value: (row) => row.there },
      { title: 'HOW, OR WHY NOT', value: (row) => row.detail, shrinks: true }
    ],
    [...rows, ...head, ...others],
    width
  )
}

const told = ({ name, present, detail }: NodeIsolators['host'][number]) => ({
  capability: name,
  there: present ? 'yes' : 'no',
  detail
})
