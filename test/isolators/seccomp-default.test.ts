import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { defaultCapabilities } from '../../isolators/capabilities.ts'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { callsOfCapability, closedCalls, conditionalCalls, openCalls } from '../../isolators/seccomp/calls.ts'
import { defaultProfile } from '../../isolators/seccomp/default-profile.ts'
import { reduceProfile } from '../../isolators/seccomp/profile.ts'
import { seccomp } from '../../isolators/seccomp/seccomp.ts'
import { usualWalls } from '../../isolators/walls.ts'

const signal = new AbortController().signal
const header = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h'

interface Rule {
  readonly names: readonly string[]
  readonly action: string
  readonly errnoRet?: number
}

/** What the reduced profile does with one call, whatever its arguments: allow, an errno, some (by arguments) or unknown. */
function verdict(name: string, caps: readonly string[]): string {
  const rules = (reduceProfile(defaultProfile, 'x64', caps)['syscalls'] as readonly (Rule & { args?: unknown })[]).filter((r) =>
    r.names.includes(name)
  )
  const [rule] = rules
  if (rule === undefined) return 'unknown'
  if (rule.args !== undefined) return 'some'
  return rule.action === 'SCMP_ACT_ALLOW' ? 'allow' : `errno ${rule.errnoRet}`
}

t.test(
  'every call of the kernel’s table is in exactly one group',
  { skip: !existsSync(header) && 'no kernel headers here' },
  async (t) => {
    const inCapabilities = new Set(Object.values(callsOfCapability).flat())
    const groups = [new Set(openCalls), inCapabilities, new Set(closedCalls), new Set(conditionalCalls)]
    t.equal(new Set(openCalls).size, openCalls.length, 'no name stands twice among the open ones')
    const table = [...readFileSync(header, 'utf8').matchAll(/__NR_(\w+)/g)].map(([, name = '']) => name)
    t.ok(table.length > 330)
    for (const name of table) t.equal(groups.filter((group) => group.has(name)).length, 1, name)
  }
)

t.test('a call that needs a capability opens with it', async (t) => {
  t.equal(verdict('mount', defaultCapabilities), 'errno 1')
  t.equal(verdict('mount', ['CAP_SYS_ADMIN']), 'allow')
  t.equal(verdict('bpf', ['CAP_BPF']), 'allow')
  t.equal(verdict('bpf', ['CAP_SYS_ADMIN']), 'allow')
  t.equal(verdict('clone3', defaultCapabilities), 'errno 38', 'so that a libc takes clone instead')
  t.equal(verdict('clone', defaultCapabilities), 'some')
  t.equal(verdict('clone', ['CAP_SYS_ADMIN']), 'allow')
  t.equal(verdict('chroot', defaultCapabilities), 'allow')
  t.equal(verdict('keyctl', ['CAP_SYS_ADMIN']), 'errno 1', 'whatever a container may do')
  t.equal(verdict('read', []), 'allow')
  t.equal(verdict('no_such_call', []), 'unknown')
})

t.test('a profile of the node is used by its name, and an unknown or broken one is refused with a sentence', async (t) => {
  const directory = t.testdir()
  const isolator = seccomp({ defaultFile: '', directory })
  const prepare = (name: string) =>
    isolator.prepare({ walls: { ...usualWalls, seccomp: name } } as IsolatorRequest, signal).then((part) => part.seccomp)
  t.same(await prepare('unconfined'), undefined)
  t.match(await prepare('default'), { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 38 })
  await t.rejects(prepare('strict'), { code: 'invalid', message: /no seccomp profile "strict": put it into/ })
  writeFileSync(join(directory, 'strict.json'), JSON.stringify({ defaultAction: 'SCMP_ACT_KILL', syscalls: [] }))
  t.match(await prepare('strict'), { defaultAction: 'SCMP_ACT_KILL' })
  await t.rejects(prepare('lax'), { message: /this node has strict/ })
  await t.rejects(prepare('../strict'), { code: 'invalid' })
  for (const text of [
    '{',
    '[]',
    '{"defaultAction":"x","syscalls":[]}',
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[1]}]}'
  ]) {
    writeFileSync(join(directory, 'broken.json'), text)
    await t.rejects(prepare('broken'), { code: 'invalid', message: /broken\.json of this node/ }, text)
  }
})

t.test('a default that the operator named and that is not there keeps tasks from starting', async (t) => {
  const isolator = seccomp({ defaultFile: join(t.testdir(), 'gone.json'), directory: '/nowhere' })
  await t.rejects(isolator.prepare({ walls: usualWalls } as IsolatorRequest, signal), {
    code: 'unavailable',
    message: /cannot be read/
  })
  t.match(await isolator.capabilities(signal), [{ name: 'seccomp.default', present: false }])
})
