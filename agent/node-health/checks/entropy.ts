import { type Check, rowsOf } from '../verdict.ts'

/** Since Linux 5.18 the pool is 256 bits and never runs dry once it was filled (random(4)). */
export function judgeEntropy(bits: number): Check {
  const row = rowsOf('entropy')
  if (!Number.isFinite(bits)) return row.unknown('the kernel does not tell', 'mount /proc')
  const reason = `${bits} bits`
  const remedy = 'give the machine a source: virtio-rng for a virtual one, else apt-get install rng-tools5'
  return bits < 128 ? row.warning(`only ${reason}: programs that ask for random bytes may wait`, remedy) : row.ok(reason)
}
