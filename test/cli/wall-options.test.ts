import t from 'tap'
import { showWalls } from '../../cli/output/walls.ts'
import { parseNamedDevices, parseWalls, type WallOptions } from '../../cli/wall-options.ts'

t.test('walls are asked for only where an option is given', async (t) => {
  t.equal(parseWalls({}), undefined)
  t.strictSame(parseWalls({ readOnly: true }), { readOnlyRoot: true })
})

t.test('every option finds its place', async (t) => {
  t.strictSame(
    parseWalls({
      capAdd: ['net_raw'],
      capDrop: ['ALL'],
      newPrivileges: true,
      apparmor: 'web',
      readOnly: true,
      hide: ['/etc/shadow'],
      readOnlyPath: ['/srv'],
      ulimit: ['nofile=10:20', 'core=unlimited', 'nproc=5'],
      device: ['/dev/fuse', '/dev/null:r', '/dev/zero:/dev/mine:rw'],
      tmp: '1m',
      shmSize: '2m',
      sysctl: ['net.core.somaxconn=1']
    }),
    {
      addCapabilities: ['CAP_NET_RAW'],
      dropCapabilities: ['ALL'],
      newPrivileges: true,
      readOnlyRoot: true,
      hiddenPaths: ['/etc/shadow'],
      readOnlyPaths: ['/srv'],
      limits: [
        { name: 'nofile', soft: 10, hard: 20 },
        { name: 'core', soft: -1, hard: -1 },
        { name: 'nproc', soft: 5, hard: 5 }
      ],
      devices: [
        { path: '/dev/fuse' },
        { path: '/dev/null', access: 'r' },
        { path: '/dev/zero', target: '/dev/mine', access: 'rw' }
      ],
      tmpBytes: 1024 ** 2,
      shmBytes: 2 * 1024 ** 2,
      settings: { 'net.core.somaxconn': '1' },
      apparmor: 'web'
    }
  )
})

t.test('devices by name and number are told from those by path', async (t) => {
  t.strictSame(parseNamedDevices(['gpu:2', '/dev/fuse:r', 'tpu']), { gpu: 2, tpu: 1 })
  t.equal(parseNamedDevices(['/dev/fuse']), undefined)
  t.equal(parseWalls({ device: ['gpu:2'] }), undefined)
  for (const text of ['gpu:0', 'gpu:x', 'GPU', '', 'gpu:1:2'])
    t.throws(() => parseNamedDevices([text]), { code: 'invalid' }, text)
})

const wrong: readonly [WallOptions, RegExp][] = [
  [{ capAdd: ['FLY'] }, /--cap-add must be a Linux capability/],
  [{ capDrop: [''] }, /--cap-drop must be/],
  [{ hide: ['etc'] }, /--hide must be an absolute path/],
  [{ ulimit: ['nofile'] }, /--ulimit must be NAME=SOFT/],
  [{ ulimit: ['nofile=1:x'] }, /--ulimit must be/],
  [{ ulimit: ['nofile=99999999999999999999'] }, /--ulimit must be/],
  [{ device: ['/dev/fuse:/dev/x:rwx'] }, /--device must be PATH/],
  [{ sysctl: ['net.core.somaxconn'] }, /--sysctl must be NAME=VALUE/],
  [{ tmp: '0' }, /--tmp must be a size/]
]
for (const [options, message] of wrong)
  t.test(`${JSON.stringify(options)} is refused`, async (t) => t.throws(() => parseWalls(options), { code: 'invalid', message }))

t.test('what is not as usual is told in one line', async (t) => {
  t.equal(showWalls({ walls: null, seccomp: 'default' }), null)
  const walls = {
    addCapabilities: ['CAP_NET_RAW'],
    dropCapabilities: [],
    newPrivileges: false,
    readOnlyRoot: true,
    hiddenPaths: [],
    readOnlyPaths: [],
    limits: [{ name: 'nofile', soft: 10, hard: -1 }],
    devices: [{ path: '/dev/fuse' }],
    tmpBytes: 1024 ** 2,
    shmBytes: 0,
    settings: {},
    apparmor: '',
    userNamespace: true
  }
  t.equal(
    showWalls({ walls, seccomp: 'strict' }),
    'seccomp strict, +NET_RAW, user namespace, read-only root, nofile 10:unlimited, /dev/fuse (rw), /tmp 1 MB'
  )
})
