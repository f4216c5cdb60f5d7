import { callsOfCapability, closedCalls, openCalls } from './calls.ts'
import type { Profile, ProfileRule } from './profile.ts'

const allow = 'SCMP_ACT_ALLOW'
const refuse = 'SCMP_ACT_ERRNO'
const EPERM = 1
const ENOSYS = 38

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h). */
const namespaceFlags = 0x7e020000
/** Only unshare(2) takes it by its own flag; clone(2) reads these bits as a signal. */
const CLONE_NEWTIME = 0x80

/** AF_UNIX, INET, INET6, NETLINK and PACKET (which wants CAP_NET_RAW): the others are rare, and hardly looked after in the kernel. */
const socketFamilies = [1, 2, 10, 16, 17]

/** As it is, with 32-bit addresses or old behaviour for old programs, or only asked for (linux/personality.h). */
const personalities = [0, 0x8, 0x20000, 0x20008, 0xffffffff]

type Conditions = NonNullable<ProfileRule['args']>

const masked = (mask: number): Conditions => [{ index: 0, value: mask, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]
const equals = (value: number): Conditions => [{ index: 0, value, valueTwo: 0, op: 'SCMP_CMP_EQ' }]
const withoutAdmin = { excludes: { caps: ['CAP_SYS_ADMIN'] } }
const withAdmin = { includes: { caps: ['CAP_SYS_ADMIN'] } }

/**
 * What a container's programs may ask of the kernel: what is known and harmless, by name. A refusal that a program can have meant
 * is EPERM; what is unknown to this list, as calls of later kernels are, looks as if the kernel had it not (ENOSYS), so that a
 * libc falls back. A filter sees only numbers: clone3 hides its flags behind a pointer, so without CAP_SYS_ADMIN there is none.
 */
export const defaultProfile: Profile = {
  defaultAction: refuse,
  defaultErrnoRet: ENOSYS,
  syscalls: [
    { names: openCalls, action: allow },
    ...Object.entries(callsOfCapability).map(([cap, names]) => ({ names, action: allow, includes: { caps: [cap] } })),
    ...[...capabilitiesOfCalls()].map(([name, caps]) => ({
      names: [name],
      action: refuse,
      errnoRet: name === 'clone3' ? ENOSYS : EPERM,
      excludes: { caps }
    })),
    { names: closedCalls, action: refuse, errnoRet: EPERM },
    { names: ['clone', 'unshare'], action: allow, ...withAdmin },
    { names: ['clone'], action: allow, args: masked(namespaceFlags), ...withoutAdmin },
    { names: ['unshare'], action: allow, args: masked(namespaceFlags + CLONE_NEWTIME), ...withoutAdmin },
    ...socketFamilies.map((family) => ({ names: ['socket'], action: allow, args: equals(family) })),
    ...personalities.map((persona) => ({ names: ['personality'], action: allow, args: equals(persona) }))
  ]
}

/** Each call with the capabilities any of which opens it. */
function capabilitiesOfCalls(): ReadonlyMap<string, readonly string[]> {
  const caps = new Map<string, string[]>()
  for (const [cap, names] of Object.entries(callsOfCapability))
    for (const name of names) caps.set(name, [...(caps.get(name) ?? []), cap])
  return caps
}
