import t from 'tap'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { buildSpec, mergeEnvironment } from '../../isolators/runtime/oci/spec.ts'
import { usualWalls } from '../../isolators/walls.ts'

const request: IsolatorRequest = {
  containerId: 'c',
  bundleDir: '/b',
  sandboxDir: '/s',
  limits: { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 1 },
  network: 'none',
  layers: ['/l'],
  imageMounts: [],
  mounts: [],
  process: {
    arguments: ['true'],
    environment: ['A=task'],
    workingDirectory: '/',
    uid: 0,
    gid: 0,
    additionalGids: [],
    terminal: false,
    rows: 0,
    columns: 0,
    hostname: 'h'
  },
  walls: usualWalls,
  labels: {},
  made: [],
  journal: async () => undefined
}
const mount = (destination: string) => ({ destination, type: 'bind', source: '/x', options: ['bind'] })

t.test('lists of the parts are joined in their order', async (t) => {
  const spec = buildSpec(request, [{ mounts: [mount('/a')], namespaces: [{ type: 'pid' }] }, { mounts: [mount('/b')] }], {
    k: 'v'
  })
  t.same(
    (spec['mounts'] as { destination: string }[]).map((m) => m.destination),
    ['/a', '/b']
  )
  t.match(spec, { annotations: { k: 'v' }, hostname: 'h', linux: { namespaces: [{ type: 'pid' }] } })
})

t.test('two isolators that set the same thing are a bug that stops the launch', async (t) => {
  t.throws(() => buildSpec(request, [{ cgroupsPath: '/a' }, { cgroupsPath: '/b' }], {}), /two isolators set cgroupsPath/)
})

t.test('the last setting of a variable wins', async (t) => {
  t.same(mergeEnvironment(['A=1', 'B=2', 'A=3', 'C=x=y']), ['A=3', 'B=2', 'C=x=y'])
  const spec = buildSpec(request, [{ env: ['A=isolator', 'Z=1'] }], {})
  t.match(spec, { process: { env: ['A=task', 'Z=1'] } })
})

t.test('only root has capabilities in force', async (t) => {
  const caps = { capabilities: ['CAP_CHOWN'] }
  t.match(buildSpec(request, [caps], {}), { process: { capabilities: { effective: ['CAP_CHOWN'], ambient: [] } } })
  const user = { ...request, process: { ...request.process, uid: 1000 } }
  t.match(buildSpec(user, [caps], {}), { process: { capabilities: { effective: [], bounding: ['CAP_CHOWN'] } } })
})

t.test('every container is denied all devices but the runtime’s own few', async (t) => {
  t.match(buildSpec(request, [{ resources: { pids: { limit: 3 } } }], {}), {
    linux: { resources: { devices: [{ allow: false, access: 'rwm' }], pids: { limit: 3 } } }
  })
})
