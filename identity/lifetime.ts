const dayMs = 24 * 3_600_000

/** Of a node. Renewed when a third of it is left, so that a cluster may be without a master for a month. */
export const nodeLifetimeMs = 90 * dayMs
export const authorityLifetimeMs = 20 * 365 * dayMs
/** Clocks of hosts differ: a certificate begins a little before it is made. */
export const earlyMs = 3_600_000

/** From when on a certificate is to be renewed. */
export const renewFromMs = ({ fromMs, untilMs }: { readonly fromMs: number; readonly untilMs: number }): number =>
  untilMs - (untilMs - fromMs) / 3
