interface Exclusion {
  readonly why: string
  /**
   * A folder (`agent/upgrade/`), a file with all its calls, or a file with some of them: `agent/images/store.ts existsSync`.
   * No function is named: names change with each refactoring, and the reason stays.
   */
  readonly at: readonly string[]
  /** Timing decides whether a life cycle comes by: being hit does not make the excuse stale. */
  readonly sometimes?: boolean
}

/** Points that no life cycle here must hit, each group with its reason. An entry whose every point is hit has to leave this list. */
export const exclusions: readonly Exclusion[] = [
  {
    why: 'Reads the host for `hearth node health` or `task stats`, mostly in a child of its own; no step of a task’s life waits for it',
    at: [
      'agent/node-health/',
      'agent/host/hardware.ts',
      'isolators/cgroup2/program-cgroup.ts',
      'isolators/cgroup2/usage.ts readFile'
    ]
  },
  {
    why: 'Only under systemd: npm run test:vm goes there',
    at: ['agent/host/systemd.ts', 'agent/host/workload-scope.ts']
  },
  {
    why: 'Only while an upgrade is tried: test/host/upgrade.test.ts breaks it at five places',
    at: ['agent/upgrade/']
  },
  {
    why: 'Only where somebody asks for the repair of a node; the next look finds what is left',
    at: ['agent/fsck/', 'agent/main.ts write']
  },
  {
    why: 'Only where a view is used again or its layer is collected: test/host/user-namespace.test.ts does both',
    sometimes: true,
    at: ['agent/images/shifted-views.ts lstat rmdirSync']
  },
  {
    why: 'Only for set-user-id files, of which the built-in image has none: test/host/user-namespace.test.ts has one',
    at: ['agent/images/shift-layer.ts chmodSync']
  },
  {
    why: 'Only where lines were lost, by a full disk or the monitor’s own bound: test/host/log-full-disk and log-overrun go there',
    at: [
      'agent/logs/gap-file.ts',
      'agent/logs/silent-loss.ts',
      'agent/logs/rotated-files.ts openSync readSync closeSync',
      'agent/logs/rotation.ts openSync readSync closeSync statSync'
    ]
  },
  {
    why: 'Only where an agent begins with kept logs, and once their time is over: test/agent/logs/kept-logs.test.ts goes there',
    sometimes: true,
    at: ['agent/logs/kept-logs.ts readFile stat rm', 'agent/logs/removed-logs.ts']
  },
  {
    why: 'Only where a task left no log to keep, or keeps none: it never ran, or is one of many attempts',
    sometimes: true,
    at: ['agent/task-runner.ts rm']
  },
  {
    why: 'Only where the host has a tracefs mounted: it tells who sent a signal, and nothing waits for it',
    at: ['agent/recorder/signal-trace.ts', 'agent/recorder/recorder.ts readFileSync']
  },
  {
    why: 'Only every 10 s, or once 128 KiB are full: mostly longer than a life cycle here; it writes one line that nobody reads back',
    sometimes: true,
    at: ['agent/recorder/sample.ts', 'agent/recorder/ring.ts renameSync']
  },
  {
    why: 'Only where the operator names modules of isolators: test/agent/walls and test/host/isolators go there',
    at: ['isolators/load.ts']
  },
  {
    why: 'Only for tasks of Docker’s: test/host/docker-runtime.test.ts ends the agent before and after each word to a real dockerd',
    at: ['isolators/runtime/docker/', 'agent/fsck/observe-docker.ts']
  },
  {
    why: 'Only of artifacts that lay unused for days, or were damaged on the disk: test/agent/images/artifacts.test.ts goes there',
    at: ['agent/images/artifacts.ts rm stat']
  },
  { why: 'Only for a task with a limit of I/O, of which nothing is kept', at: ['isolators/cgroup2/disks.ts'] },
  {
    why: 'Only once nobody has looked for a minute, or the container is gone',
    sometimes: true,
    at: ['isolators/cgroup2/kept-counters.ts closeSync']
  },
  { why: 'Only where a settings file is given', at: ['base/settings.ts'] },
  {
    why: 'Only on hosts with all controllers on cgroup v2: test/isolators and the virtual machine go there',
    at: [
      'isolators/cgroup2/tree.ts readFile writeFile mkdir',
      'isolators/cgroup2/numa.ts',
      'isolators/cgroup2/cpusets.ts',
      'isolators/cgroup2/limits.ts existsSync',
      'isolators/cgroup2/offers.ts readdirSync existsSync',
      'isolators/runtime/oci/process-table.ts readFileSync'
    ]
  },
  {
    why: 'Only with a master on another host, over TCP or TLS: the socket is the same from then on; test/e2e/agent-join.test.ts goes there',
    at: ['agent/link.ts connect destroy', 'agent/renewal.ts']
  },
  {
    why: 'Only where a task names a seccomp profile that the node has not: it is refused, and nothing is begun then',
    at: ['isolators/seccomp/seccomp.ts readdir']
  },
  {
    why: 'Only where a container is launched while another lives that an agent before launched: in a pod, as it happens',
    sometimes: true,
    at: ['agent/named-devices.ts readFileSync']
  },
  { why: 'Only where the host has a group hearth', at: ['agent/local-api/server.ts chown'] },
  {
    why: 'Only where a second agent finds the directory taken, or the agent ends for a reason it tells: nothing is begun then',
    at: ['agent/ledger/owner.ts', 'agent/local-api/server.ts close', 'agent/end-of-agent.ts']
  },
  {
    why: 'Only behind another failure, of a full disk or of damaged bytes: test/agent/ledger and test/host plant those',
    at: [
      'agent/ledger/files.ts truncate statfs link',
      'agent/images/image-list.ts rename',
      'agent/images/content-files.ts rm',
      'agent/images/host-image.ts rm',
      'agent/images/special-nodes.ts kill',
      'agent/sandbox-files/beneath.ts stat close',
      'agent/sandbox-files/read-archive.ts close',
      'agent/local-api/server.ts destroy end writeHead'
    ]
  },
  {
    why: 'Only when a snapshot replaces the ledger: 4 MiB of records, which test/agent/ledger writes',
    at: ['agent/ledger/files.ts rm']
  },
  {
    why: 'Only with images of other shapes (a shared layer, a damaged one, an archive out of order), or once unused ones are collected',
    at: [
      'agent/images/archive-spool.ts createReadStream',
      'agent/images/content-files.ts readFile readdir stat',
      'agent/images/layer-view.ts realpath',
      'agent/images/layer-writer.ts mkdirSync lstatSync',
      'agent/images/store.ts existsSync'
    ]
  },
  {
    why: 'Only where a registry asks for credentials, speaks TLS, stops answering or lies behind a proxy: test/agent/images/registry-doors, lying-registry and proxy go there',
    at: [
      'agent/images/registry/credentials.ts',
      'agent/images/registry/http.ts destroy readdirSync readFileSync',
      'agent/images/registry/proxy.ts'
    ]
  },
  {
    why: 'Only where a layer is damaged, or breaks off while it is unpacked: test/agent/images/pull and lying-registry go there',
    at: ['agent/images/content-files.ts rename', 'agent/images/layer-stage.ts rmSync', 'agent/images/layer-contents.ts closeSync']
  },
  { why: 'Only once another call has failed', at: ['base/replace-file.ts rm'] },
  { why: 'Only once an hour: the agent looks whether its disk is nearly full', at: ['agent/images/store.ts statfs'] },
  {
    why: 'Only for an exec by a user whom the image’s own files name, which the built-in image has not',
    at: ['agent/local-api/exec-user.ts']
  },
  {
    why: 'Only where a copy into the sandbox replaces something of another kind',
    at: ['agent/sandbox-files/write-archive.ts rm unlink']
  },
  {
    why: 'Depends on which of two comes first, or on a pause longer than a life cycle takes here',
    sometimes: true,
    at: [
      'agent/host/boot-directory.ts readdirSync rmSync',
      'agent/host/boot-time.ts readFileSync',
      'agent/host/exec-program.ts close watch',
      'agent/host/terminal.ts kill',
      'agent/images/unpack-child.ts readFile',
      'agent/local-api/server.ts closeAllConnections',
      'agent/logs/generations.ts close',
      'agent/logs/reader.ts close watch',
      'agent/logs/rotated-files.ts rmSync',
      'agent/rebuild.ts',
      'agent/stray-execs.ts',
      'isolators/disk.ts lstat opendir',
      'isolators/cgroup2/population.ts',
      'isolators/cgroup2/tree.ts readFile',
      'isolators/runtime/oci/conmon.ts existsSync readFileSync kill end',
      'isolators/runtime/oci/oci.ts existsSync',
      'isolators/runtime/oci/process-table.ts kill'
    ]
  }
]

/** Whether an entry of `at` stands for a point: `file:function:operation`, with `#2` where a function has several. */
export function covers(entry: string, point: string): boolean {
  const [place = '', ...calls] = entry.split(' ')
  const [file = ''] = point.split(':')
  if (place.endsWith('/') ? !file.startsWith(place) : file !== place) return false
  const operation = point.slice(point.lastIndexOf(':') + 1).replace(/#\d+$/, '')
  return calls.length === 0 || calls.includes(operation)
}
