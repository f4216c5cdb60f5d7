/** Nearest rank: a value that was really measured, never one between two. `share` in (0, 1]. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? Number.NaN
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)

export interface Spread {
  readonly n: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
}

export const spreadOf = (samples: readonly number[]): Spread => ({
  n: samples.length,
  p50Ms: rounded(percentile(samples, 0.5)),
  p90Ms: rounded(percentile(samples, 0.9)),
  p99Ms: rounded(percentile(samples, 0.99))
})

/** Three digits behind the point are all that a clock and a scheduler are worth. */
export const rounded = (value: number): number => Math.round(value * 1000) / 1000
