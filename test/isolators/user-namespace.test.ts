import t from 'tap'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { userNamespace } from '../../isolators/user-namespace.ts'
import { usualWalls } from '../../isolators/walls.ts'

const never = new AbortController().signal
const given = { first: 1_879_048_192, count: 1_000_000 }

t.test('a container gets the ids of its role and no others', async (t) => {
  const isolator = userNamespace(undefined)
  const asked = (ids: IsolatorRequest['walls']['ids']) =>
    isolator.prepare({ walls: { ...usualWalls, ids } } as IsolatorRequest, never)
  t.same(await asked(undefined), {})
  t.same(await asked({ first: 131_072, count: 65_536 }), {
    namespaces: [{ type: 'user' }],
    idMappings: [{ containerID: 0, hostID: 131_072, size: 65_536 }]
  })
  await t.rejects(asked({ first: 0, count: 65_536 }), { code: 'invalid', message: /the node’s own/ })
})

t.test('a node says why it has none', async (t) => {
  const files = (subuid: string, most = '100') => ({
    proc: { sys: { user: { max_user_namespaces: most } } },
    sys: { module: { overlay: { parameters: { metacopy: 'N' } } } },
    old: { module: { overlay: { parameters: { index: 'N' } } } },
    etc: { subuid, passwd: 'root:x:0:0::/:/bin/sh\n' }
  })
  const told = async (content: ReturnType<typeof files>, sys = 'sys') => {
    const root = t.testdir(content)
    const isolator = userNamespace(given, { proc: `${root}/proc`, sys: `${root}/${sys}`, etc: `${root}/etc` })
    const [capability] = await isolator.capabilities(never)
    return capability
  }
  t.match(await told(files('me:100000:65536\n')), { name: 'user-namespace', present: true })
  t.match(await told(files('me:1879048190:65536\n')), { present: false, detail: /subuid gives ids .* to me/ })
  t.match(await told(files(''), 'unloaded'), { present: true })
  t.match(await told(files('', '0')), { present: false, detail: /max_user_namespaces/ })
  t.match(await told(files(''), 'old'), { present: false, detail: /overlayfs/ })
})
