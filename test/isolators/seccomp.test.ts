import t from 'tap'
import { reduceProfile } from '../../isolators/seccomp/profile.ts'

const rule = (name: string, more: object = {}) => ({ names: [name], action: 'SCMP_ACT_ALLOW', ...more })
const profile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 38,
  syscalls: [
    rule('read'),
    rule('chroot', { includes: { caps: ['CAP_SYS_CHROOT'] } }),
    rule('bpf', { includes: { caps: ['CAP_SYS_ADMIN'] } }),
    { names: ['bpf'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['chroot'], action: 'SCMP_ACT_ERRNO', excludes: { caps: ['CAP_SYS_CHROOT'] } },
    rule('arch_prctl', { includes: { arches: ['amd64'] } }),
    rule('arm_sync_file_range', { includes: { arches: ['arm64'] } }),
    rule('personality', { args: [{ index: 0, value: 8, op: 'SCMP_CMP_EQ' }] }),
    rule('plain', { args: null, includes: {}, excludes: {} })
  ]
}

t.test('only rules for the capabilities and the architecture at hand remain', async (t) => {
  const reduced = reduceProfile(profile, 'x64', ['CAP_SYS_CHROOT'])
  t.same(
    (reduced['syscalls'] as { names: string[]; action: string }[]).map((s) => `${s.names[0]} ${s.action}`),
    [
      'read SCMP_ACT_ALLOW',
      'chroot SCMP_ACT_ALLOW',
      'bpf SCMP_ACT_ERRNO',
      'arch_prctl SCMP_ACT_ALLOW',
      'personality SCMP_ACT_ALLOW',
      'plain SCMP_ACT_ALLOW'
    ]
  )
  t.same(reduced['architectures'], ['SCMP_ARCH_X86_64'])
  t.equal(reduced['defaultErrnoRet'], 38)
})

t.test('the reduced profile carries no filters that a runtime does not know', async (t) => {
  t.notMatch(JSON.stringify(reduceProfile(profile, 'arm64', [])), /includes|excludes|null/)
})
