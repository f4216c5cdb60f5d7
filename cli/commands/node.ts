import type { Node, NodeCheck } from '../../sdk/operator-messages.ts'
import { showBytes, showCpus, showDuration } from '../amounts.ts'
import { type CommonOptions, type Context, wantsColour, widthOf, writeOut } from '../context.ts'
import { paintWith } from '../output/colour.ts'
import { amountOf, showResources } from '../output/resources.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { shortId } from '../output/task.ts'

export async function listNodes(context: Context, options: CommonOptions): Promise<number> {
  const nodes = await context.client(options).nodes.list(context.signal)
  const { stdout } = context.streams
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(nodes, null, 2)}\n`)
    return 0
  }
  const paint = paintWith(wantsColour(stdout, context.env))
  const table = renderTable<Node>(
    [
      { title: 'NODE', value: (node) => shortId(node.nodeId) },
      { title: 'HOST', value: (node) => node.hostname, shrinks: true },
      { title: 'CONDITION', value: showCondition, colour: (text, node) => paint(node.connected ? 'green' : 'red', text) },
      { title: 'HEALTH', value: showHealth, colour: (text, node) => paint(healthColour(node), text) },
      { title: 'CPUS', value: (node) => used(node, 'cpus', showCpus), align: 'right' },
      { title: 'MEMORY', value: (node) => used(node, 'mem', showBytes), align: 'right' },
      { title: 'TASKS', value: (node) => String(taskCount(node)), align: 'right' },
      { title: 'VERSION', value: (node) => node.version, shrinks: true }
    ],
    nodes,
    widthOf(stdout)
  )
  await writeOut(stdout, table)
  return 0
}

export async function showNode(context: Context, id: string, options: CommonOptions): Promise<number> {
  const node = await context.client(options).nodes.show(id, context.signal)
  const { stdout } = context.streams
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(node, null, 2)}\n`)
    return 0
  }
  await writeOut(
    stdout,
    renderFacts([
      ['Node', node.nodeId],
      ['Host', node.hostname],
      ['Condition', showCondition(node)],
      ['Health', showHealth(node)],
      ['Version', node.version],
      ['Boot', node.bootId],
      ['Registered', `${showDuration(Date.now() - node.registeredAtMs)} ago`],
      ['Tasks', String(taskCount(node))],
      ['Resources', showResources(node.resources)],
      ['Used', node.used.length === 0 ? 'nothing' : showResources(node.used)],
      ['Attributes', node.attributes.map(showAttribute).join(', ')]
    ])
  )
  const problems = node.health?.problems ?? []
  const troubles = renderTable(
    [
      { title: 'PROBLEM', value: (p: NodeCheck) => (p.subject === '' ? p.kind : `${p.kind} ${p.subject}`) },
      { title: 'VERDICT', value: (p) => p.verdict },
      { title: 'REASON', value: (p) => p.reason, shrinks: true }
    ],
    problems,
    widthOf(stdout)
  )
  if (problems.length > 0) await writeOut(stdout, `\n${troubles}`)
  const capabilities = renderTable(
    [
      { title: 'CAPABILITY', value: (c: Node['capabilities'][number]) => c.name },
      { title: 'THERE', value: (c) => (c.present ? 'yes' : 'no') },
      { title: 'DETAIL', value: (c) => c.detail, shrinks: true }
    ],
    node.capabilities,
    widthOf(stdout)
  )
  if (node.capabilities.length > 0) await writeOut(stdout, `\n${capabilities}`)
  return 0
}

const showCondition = (node: Node): string =>
  `${node.condition}${node.connected ? '' : ', not connected'}${node.overCommitted === true ? ', over-committed' : ''}${node.health?.refusesLaunches === true ? ', takes no new tasks' : ''}`

const showHealth = (node: Node): string => node.health?.verdict ?? '-'

const healthColour = ({ health }: Node): 'green' | 'red' | 'yellow' | 'grey' => {
  if (health == null) return 'grey'
  if (health.verdict === 'OK') return 'green'
  return health.verdict === 'FAILURE' ? 'red' : 'yellow'
}

const used = (node: Node, name: string, show: (amount: number) => string): string =>
  `${show(amountOf(node.used, name))} / ${show(amountOf(node.resources, name))}`

const taskCount = (node: Node): number => (typeof node.tasks === 'number' ? node.tasks : node.tasks.length)

function showAttribute(attribute: Node['attributes'][number]): string {
  if (attribute.kind === 'text') return `${attribute.name}=${attribute.text}`
  if (attribute.kind === 'number') return `${attribute.name}=${attribute.number / 1000}`
  return `${attribute.name}=${attribute.ranges.map((r) => `${r.begin}-${r.end}`).join(',')}`
}
