export const appenderKinds = ['ledger', 'file that grows', 'log', 'file of zeros'] as const
export type AppenderKind = (typeof appenderKinds)[number]

/** `appends` rounds, each of so many at once. */
export interface Order {
  readonly appends: number
  readonly atOnce: number
}
