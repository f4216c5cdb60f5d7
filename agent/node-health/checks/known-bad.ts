/** Versions that are known to be bad, and for whom. The only place that names them. */
export interface KnownBad {
  readonly program: 'runc' | 'crun' | 'conmon'
  /** Either every version before this one, or the one in which we saw it; what came after that was not looked at. */
  readonly versions: { readonly before: string } | { readonly seenIn: string }
  /** A build of a distribution that has the fix under an older number, by what it says of itself. */
  readonly patched?: RegExp
  /** `warning`: a reason to upgrade. `note`: worth knowing; Hearth goes around it. */
  readonly weight: 'warning' | 'note'
  readonly what: string
}

export const knownBad: readonly KnownBad[] = [
  {
    program: 'runc',
    versions: { before: '1.1.12' },
    patched: /\+deb12u[1-9]|\+deb11u[3-9]/,
    weight: 'warning',
    what: 'a program can leave its container through a leaked file descriptor (CVE-2024-21626)'
  },
  {
    program: 'runc',
    versions: { before: '1.2.0' },
    weight: 'note',
    what: 'ignores the idmap option of a mount without a word'
  },
  {
    program: 'runc',
    versions: { seenIn: '1.1.5' },
    weight: 'note',
    what: 'gives a tmpfs the mode of the folder beneath it, whatever mode is asked for'
  },
  {
    program: 'crun',
    versions: { seenIn: '1.8.1' },
    weight: 'note',
    what: 'refuses hosts with cgroup v1 and v2 side by side; Hearth gives it a mount namespace of its own there'
  },
  {
    program: 'conmon',
    versions: { seenIn: '2.1.6' },
    weight: 'note',
    what: 'drops log lines without a word once the log has its largest size; Hearth rotates ahead of it'
  }
]

export const isAffected = (bad: KnownBad, version: string): boolean =>
  'before' in bad.versions
    ? compareVersions(version, bad.versions.before) < 0
    : compareVersions(version, bad.versions.seenIn) === 0

/** -1, 0 or 1; what is not a number counts as 0, missing parts too. */
export function compareVersions(a: string, b: string): number {
  const parts = (text: string): readonly number[] => text.split('.').map((part) => Number.parseInt(part, 10) || 0)
  const [left, right] = [parts(a), parts(b)]
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const order = Math.sign((left[i] ?? 0) - (right[i] ?? 0))
    if (order !== 0) return order
  }
  return 0
}
