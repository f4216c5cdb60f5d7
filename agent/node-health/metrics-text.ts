/**
 * Writes the Prometheus text format 0.0.4 (prometheus.io, "Exposition formats"). One family holds all samples of a name; a
 * counter's name ends in `_total`; units are base units: seconds, bytes, ratios.
 */
export interface MetricFamily {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly help: string
  readonly samples: readonly MetricSample[]
}

export interface MetricSample {
  readonly labels?: Readonly<Record<string, string>>
  /** What is not known is left out by the caller; `NaN` and infinities are written as the format has them. */
  readonly value: number
}

/** Asked at each scrape. */
export type MetricSource = () => readonly MetricFamily[] | Promise<readonly MetricFamily[]>

export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8'

/** Families without a sample are left out. Throws on a name that the format does not allow: that is a bug of ours. */
export function renderMetrics(families: readonly MetricFamily[]): string {
  return families.flatMap((family) => (family.samples.length === 0 ? [] : linesOf(family))).join('')
}

const namePattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const labelPattern = /^[a-zA-Z_][a-zA-Z0-9_]*$/

function linesOf({ name, type, help, samples }: MetricFamily): readonly string[] {
  if (!namePattern.test(name)) throw new Error(`${name} is no name of a metric`)
  const escaped = help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n')
  return [
    `# HELP ${name} ${escaped}\n`,
    `# TYPE ${name} ${type}\n`,
    ...samples.map(({ labels = {}, value }) => `${name}${showLabels(labels)} ${showValue(value)}\n`)
  ]
}

function showLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => {
    if (!labelPattern.test(name)) throw new Error(`${name} is no name of a label`)
    // A carriage return is allowed, but ends lines for many readers.
    return `${name}="${value
      .replace(/\\/g, '\\\\')
      .replace(/"/g, '\\"')
      .replace(/\r?\n|\r/g, '\\n')}"`
  })
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function showValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (Number.isFinite(value)) return String(value)
  return value > 0 ? '+Inf' : '-Inf'
}
