import fc from 'fast-check'
import t from 'tap'
import { type MetricFamily, renderMetrics } from '../../../agent/node-health/metrics-text.ts'
import { agentMetrics, healthMetrics, hostMetrics, taskMetrics } from '../../../agent/node-health/node-metrics.ts'

interface Parsed {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A reader of the text format 0.0.4, written from its description; throws where a line is none. */
function parseMetrics(text: string): readonly Parsed[] {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the last line has no end')
  const types = new Map<string, string>()
  const found: Parsed[] = []
  for (const line of text.split('\n').slice(0, -1)) {
    const type = /^# TYPE ([a-zA-Z_:][\w:]*) (gauge|counter)$/.exec(line)
    if (type !== null) {
      if (types.has(type[1] ?? '')) throw new Error(`${line}: told twice`)
      types.set(type[1] ?? '', type[2] ?? '')
      continue
    }
    if (/^# HELP [a-zA-Z_:][\w:]* [^\n]*$/.test(line)) continue
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\["\\n])*",?)*)\})? (NaN|[+-]Inf|[-+.\de]+)$/.exec(line)
    if (sample === null) throw new Error(`no line of the format: ${JSON.stringify(line)}`)
    const [, name = '', labels = '', value = ''] = sample
    if (!types.has(name)) throw new Error(`${name} has no type before its first sample`)
    const pairs = [...labels.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\["\\n])*)"/g)].map(([, label = '', written = '']) => [
      label,
      written.replace(/\\(["\\n])/g, (_, c: string) => (c === 'n' ? '\n' : c))
    ])
    found.push({ name, labels: Object.fromEntries(pairs), value: Number(value.replace('Inf', 'Infinity')) })
  }
  return found
}

t.test('whatever stands in labels and help comes back as it was', async (t) => {
  const text = fc.string({ unit: 'binary', maxLength: 30 })
  fc.assert(
    fc.property(text, text, fc.double(), (help, label, value) => {
      const family: MetricFamily = { name: 'a_total', type: 'counter', help, samples: [{ labels: { path: label }, value }] }
      const [sample] = parseMetrics(renderMetrics([family]))
      const wanted = label.replace(/\r\n|\r/g, '\n')
      if (sample?.labels['path'] !== wanted || !Object.is(sample.value + 0, value + 0)) throw new Error(JSON.stringify(sample))
    }),
    { numRuns: 1_000 }
  )
  t.equal(renderMetrics([{ name: 'a', type: 'gauge', help: 'x', samples: [] }]), '', 'a family without samples is left out')
  t.throws(() => renderMetrics([{ name: '0', type: 'gauge', help: '', samples: [{ value: 1 }] }]))
  t.throws(() => renderMetrics([{ name: 'a', type: 'gauge', help: '', samples: [{ labels: { 'a-b': '' }, value: 1 }] }]))
})

t.test('the node’s own metrics keep to the conventions', async (t) => {
  const stall = { avg10: 0, avg60: 0, avg300: 0, totalUs: 2_500_000 }
  const families = [
    ...healthMetrics([
      { kind: 'disk', subject: '/d "x"', verdict: 'FAILURE', reason: '', remedy: '' },
      { kind: 'memory', subject: '', verdict: 'OK', reason: '', remedy: '' }
    ]),
    ...hostMetrics({
      memory: { totalBytes: 10, availableBytes: 4, swapTotalBytes: 0, swapFreeBytes: 0 },
      pressure: { cpu: { some: stall, full: undefined }, memory: { some: stall, full: stall }, io: undefined },
      disks: [{ path: '/d', totalBytes: 9, freeBytes: 3, totalInodes: 5, freeInodes: 2, readOnly: true }]
    }),
    ...agentMetrics({
      version: '1.0',
      agentId: 'a',
      registered: true,
      startsMs: [1_000, 2_000],
      cpuSeconds: 1.5,
      residentBytes: 7,
      latenessMs: [],
      clockSteps: 0,
      syncs: 3,
      syncSeconds: 0.5,
      ledgerQuarantined: 0
    }),
    ...taskMetrics([
      { frameworkId: 'f', taskId: 't', containerId: 'c', state: 'running', restarts: 2, usage: { cpuUs: 1_500_000, pids: 4 } },
      { frameworkId: 'f', taskId: 'u', containerId: 'd', state: 'running', restarts: 0, usage: {} }
    ])
  ]
  const samples = parseMetrics(renderMetrics(families))
  const value = (name: string, labels: Record<string, string> = {}) =>
    samples.find((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value
  t.equal(value('hearth_node_health'), 2)
  t.equal(value('hearth_node_check', { kind: 'disk', subject: '/d "x"' }), 2)
  t.equal(value('hearth_node_pressure_waiting_seconds_total', { resource: 'cpu' }), 2.5)
  t.equal(value('hearth_node_pressure_stalled_seconds_total', { resource: 'cpu' }), undefined)
  t.equal(value('hearth_node_disk_readonly'), 1)
  t.equal(value('hearth_agent_restarts_total'), 1)
  t.equal(value('process_start_time_seconds'), 2)
  t.equal(value('hearth_tasks', { state: 'running' }), 2)
  t.equal(value('hearth_task_cpu_seconds_total', { task: 't' }), 1.5)
  t.equal(value('hearth_task_memory_bytes'), undefined, 'what is not known is left out')
  for (const { name, type } of families) {
    t.equal(name.endsWith('_total'), type === 'counter', name)
    t.match(name, /^(hearth|process)_[a-z0-9_]+$/)
  }
})
