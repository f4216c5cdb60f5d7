import t from 'tap'
import { containerBody } from '../../isolators/runtime/docker/container-body.ts'
import { cursorOf, RecordParser, sinceOf } from '../../isolators/runtime/docker/log-records.ts'

const wish = { imageDigest: 'sha256:1', labels: {}, cgroupParent: '/h/c', terminal: false, openStdin: false, logMaxBytes: 5 }

function spec(more: { readonly linux?: object; readonly process?: object; readonly top?: object } = {}) {
  const user = { uid: 3, gid: 4, additionalGids: [5] }
  const process = { args: ['a', 'b'], env: ['X=1'], cwd: '/w', user, capabilities: { bounding: ['CAP_CHOWN'], ambient: [] } }
  return {
    ociVersion: '1.0.2',
    process: { ...process, ...more.process },
    root: { readonly: true },
    mounts: [
      { destination: '/', type: 'overlay', source: 'overlay', options: [] },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['size=77'] },
      { destination: '/sandbox', type: 'bind', source: '/s', options: ['bind', 'rw'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['size=9'] }
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'network' }],
      seccomp: { defaultAction: 'SCMP_ACT_ERRNO' },
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c', major: 1, minor: 3, access: 'r' }
        ],
        memory: { limit: 99 },
        pids: { limit: 7 }
      },
      devices: [{ path: '/dev/mine', type: 'c', major: 1, minor: 3 }],
      ...more.linux
    },
    ...more.top
  }
}

t.test('the walls of a spec are in the request to Docker, each in its place', async (t) => {
  const body = containerBody(spec(), wish)
  t.match(body, { Image: 'sha256:1', Entrypoint: ['a'], Cmd: ['b'], User: '3:4', WorkingDir: '/w', NetworkDisabled: true })
  t.match(body['HostConfig'], {
    ...{ CapDrop: ['ALL'], CapAdd: ['CAP_CHOWN'], ReadonlyRootfs: true, GroupAdd: ['5'], NetworkMode: 'none', ShmSize: 77 },
    ...{ CgroupParent: '/h/c', Memory: 99, PidsLimit: 7, Tmpfs: { '/tmp': 'size=9' } },
    SecurityOpt: ['seccomp={"defaultAction":"SCMP_ACT_ERRNO"}'],
    Mounts: [{ Source: '/s', Target: '/sandbox', ReadOnly: false }],
    Devices: [{ PathOnHost: '/dev/char/1:3', PathInContainer: '/dev/mine', CgroupPermissions: 'r' }]
  })
})

t.test('what has no place in a request to Docker is refused by its name', async (t) => {
  const strange = [
    { linux: { uidMappings: [] } },
    { linux: { namespaces: [{ type: 'user' }] } },
    { linux: { namespaces: [{ type: 'network', path: '/run/netns/x' }] } },
    { linux: { resources: { hugepageLimits: [] } } },
    { process: { capabilities: { bounding: [], ambient: ['CAP_CHOWN'] } } },
    { process: { oomScoreAdj: 1 } },
    { top: { mounts: [{ destination: '/x', type: 'nfs', source: 's', options: [] }] } },
    { top: { hooks: {} } }
  ]
  for (const more of strange) {
    t.throws(() => containerBody(spec(more), wish), { code: 'unsupported', detail: { reason: 'unsupported_request' } })
  }
})

const at = '2026-11-22T17:40:22.123456789Z'
const later = '2026-11-22T17:40:22.123456790Z'

function framed(kind: number, text: string): Buffer {
  const head = Buffer.alloc(8)
  head[0] = kind
  head.writeUInt32BE(Buffer.byteLength(text), 4)
  return Buffer.concat([head, Buffer.from(text)])
}

t.test('records of Docker become lines of a log, in whatever pieces they come', async (t) => {
  const bytes = Buffer.concat([framed(1, `${at} hi\n`), framed(2, `${at} oops\n`), framed(1, `${later} half`)])
  const lines = [
    '2026-11-22T17:40:22.123456789+00:00 stdout F hi\n',
    '2026-11-22T17:40:22.123456789+00:00 stderr F oops\n',
    '2026-11-22T17:40:22.123456790+00:00 stdout P half\n'
  ]
  for (const size of [1, 7, 1_000]) {
    const parser = new RecordParser(false)
    const found = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
    t.same(
      found.flatMap((piece) => parser.push(piece)).map(({ line }) => line.toString()),
      lines
    )
  }
  const cursor = cursorOf(Buffer.from(lines.slice(0, 2).join('')))
  t.same(cursor, { time: at, written: 2 }, 'both of that moment are there')
  t.equal(sinceOf(cursor), '1795369222.123456789')
  t.equal(sinceOf(cursorOf(Buffer.alloc(0))), '0')
})

t.test('a terminal’s records have no heads: long lines come in pieces of 16 KiB', async (t) => {
  const parser = new RecordParser(true)
  const long = 'x'.repeat(16 * 1024)
  const found = parser.push(Buffer.from(`${at} hi\r\n${at} ${long}${later} rest\n${later} cut`))
  t.same(
    found.map(({ line }) => line.toString().slice(36)),
    [`stdout F hi\r\n`, `stdout P ${long}\n`, `stdout F rest\n`]
  )
})
