export const mix = (hash: number, value: number): number => {
  const x = Math.imul((hash ^ value) >>> 0, 0x9e3779b1) >>> 0
  return (x ^ (x >>> 15)) >>> 0
}

export function mixBytes(hash: number, bytes: Uint8Array): number {
  let mixed = mix(hash, bytes.length)
  for (const byte of bytes) mixed = mix(mixed, byte)
  return mixed
}
