import { readFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { defaultCapabilities } from './capabilities.ts'
import type { BundlePart, Isolator } from './isolator.ts'

interface Filter {
  readonly caps?: readonly string[]
  readonly arches?: readonly string[]
}

interface ProfileRule {
  readonly names: readonly string[]
  readonly action: string
  readonly args?: readonly unknown[] | null
  readonly errnoRet?: number
  readonly includes?: Filter
  readonly excludes?: Filter
}

interface Profile {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly syscalls: readonly ProfileRule[]
}

const architectures: Readonly<Record<string, { readonly profile: string; readonly seccomp: string }>> = {
  x64: { profile: 'amd64', seccomp: 'SCMP_ARCH_X86_64' },
  arm64: { profile: 'arm64', seccomp: 'SCMP_ARCH_AARCH64' }
}

/**
 * The distribution's default profile, reduced once to the capabilities that containers get and to the machine's own
 * architecture: 32-bit and x32 calls are refused, which saves 14 ms a launch (facts on launch, 4).
 */
export function seccomp(profilePath: string): Isolator {
  let reduced: Promise<BundlePart['seccomp'] | undefined> | undefined
  const profile = (): Promise<BundlePart['seccomp'] | undefined> => {
    reduced ??= load(profilePath)
    return reduced
  }
  return {
    name: 'seccomp',
    async capabilities() {
      const there = (await profile()) !== undefined
      return [{ name: 'seccomp.default', present: there, detail: there ? profilePath : `${profilePath} cannot be read` }]
    },
    async prepare(request) {
      if (request.seccomp === 'unconfined') return {}
      const found = await profile()
      return found === undefined ? {} : { seccomp: found }
    },
    cleanup: async () => undefined
  }
}

async function load(path: string): Promise<BundlePart['seccomp'] | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch {
    // The node then lacks the capability `seccomp.default`, which the agent reports and the launch checks.
    return undefined
  }
  return reduceProfile(JSON.parse(text) as Profile, arch(), defaultCapabilities)
}

/** Drops the rules for other capabilities and architectures (the profile format of containers-common). */
export function reduceProfile(profile: Profile, nodeArch: string, caps: readonly string[]): NonNullable<BundlePart['seccomp']> {
  const here = architectures[nodeArch]
  const matches = (f: Filter | undefined): boolean =>
    f !== undefined && ((f.caps?.some((c) => caps.includes(c)) ?? false) || (f.arches?.includes(here?.profile ?? '') ?? false))
  const named = (f: Filter | undefined): boolean => (f?.caps?.length ?? 0) + (f?.arches?.length ?? 0) > 0
  const rules = profile.syscalls.filter((r) => (!named(r.includes) || matches(r.includes)) && !matches(r.excludes))
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(here === undefined ? {} : { architectures: [here.seccomp] }),
    syscalls: rules.map((r) => ({
      names: r.names,
      action: r.action,
      ...(r.args != null && r.args.length > 0 ? { args: r.args } : {}),
      ...(r.errnoRet === undefined ? {} : { errnoRet: r.errnoRet })
    }))
  }
}
