import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemBootClock } from '../../agent/host/boot-time.ts'
import { systemExec } from '../../agent/host/exec.ts'
import { Leases } from '../../agent/lease/leases.ts'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { DeviceDesk, type NamedDevices } from '../../agent/named-devices.ts'
import type { Ledger, ResolvedImage } from '../../agent/ports.ts'
import { RuntimeChoice } from '../../agent/runtime-choice.ts'
import { StatusOutbox } from '../../agent/status-outbox.ts'
import { Tasks, type TasksConfig, type TasksParts } from '../../agent/tasks.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { type CgroupLayout, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import { OciRuntime } from '../../isolators/runtime/oci/oci.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'

/** The watchdog of leases, as it lies in the tree. */
export const leaseProgram = fileURLToPath(new URL('../../agent/lease/watchdog.pl', import.meta.url))

/** What agents that follow one another on a host share: a directory, a cgroup parent and a small image. */
export interface AgentPlace {
  readonly directory: string
  readonly runDir: string
  readonly ledgerDir: string
  readonly sandboxesDir: string
  readonly cgroupParent: string
  readonly layout: CgroupLayout
  readonly image: ResolvedImage
}

export function agentPlace(): AgentPlace {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-'))
  const process = { entrypoint: [], command: [], environment: ['PATH=/bin'], workingDirectory: '/', user: '', stopSignal: '' }
  return {
    directory,
    runDir: join(directory, 'run'),
    ledgerDir: join(directory, 'agent/ledger'),
    sandboxesDir: join(directory, 'agent/sandboxes'),
    cgroupParent: `/hearth-test-${randomBytes(4).toString('hex')}`,
    layout: readCgroupLayout(),
    image: {
      reference: 'busybox',
      digest: 'sha256:0',
      layers: [makeBusyboxLayer(join(directory, 'layer'))],
      mounts: [],
      ...process
    }
  }
}

interface Around {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  readonly bootId: string
  readonly rotation: TasksParts['rotation']
  /** Of the isolators; by default the clock’s. */
  readonly sleep?: Clock['sleep']
  /** Beyond Hearth's own. */
  readonly isolators?: readonly Isolator[]
  readonly agentId: string
  readonly devices?: NamedDevices
  readonly limits: Pick<TasksConfig, 'launchesAtOnce' | 'maxTasks' | 'attemptsKept'>
  readonly onBroken: (error: unknown) => void
  /** A runtime besides the OCI one, for tasks that name it. */
  readonly docker?: (place: AgentPlace, agentId: string) => Runtime
}

interface BuiltAgent {
  readonly runtime: Runtime
  readonly leases: Leases
  readonly outbox: StatusOutbox
  readonly tasks: Tasks
}

export const openPlaceLedger = ({ ledgerDir }: AgentPlace, log: Log): Promise<Ledger> =>
  openLedger({ log }, { directory: ledgerDir, reserveBytes: 4_096 })

/** The parts of an agent that hold containers, on the place; nothing of it has begun. */
export function buildAgent(place: AgentPlace, around: Around): BuiltAgent {
  const { layout, cgroupParent, runDir, sandboxesDir, image } = place
  const { ledger, clock, log, bootId, rotation, agentId, limits, onBroken } = around
  const sleep = around.sleep ?? clock.sleep.bind(clock)
  const programs = { conmon: '/usr/bin/conmon', runc: '/usr/sbin/runc', crun: '/usr/bin/crun' }
  const shimDir = join(runDir, 'bin')
  const oci = new OciRuntime({ layout, sleep: clock.sleep.bind(clock) }, { runDir, shimDir, cgroupParent, programs })
  const rowOf = (id: string) => ledger.view.tasks.get(id)?.row
  const runtime = around.docker === undefined ? oci : new RuntimeChoice({ oci, docker: around.docker(place, agentId), rowOf })
  const leases = new Leases(
    { clock, bootClock: systemBootClock, log, layout, place: undefined, epoch: () => ledger.view.head.epoch },
    { bootDir: runDir, bootId, cgroupParent, program: leaseProgram }
  )
  const seccomp = { defaultFile: '', directory: '/etc/hearth/seccomp.d' }
  const trash = { take: () => false }
  const walls = builtinIsolators({ trash, layout, cgroupParent, seccomp, sleep })
  const outbox = new StatusOutbox({ ledger, clock, random: systemRandom, log })
  const tasks = new Tasks(
    {
      ...{ ledger, outbox, runtime, clock, log, rotation, leases },
      images: {
        resolve: async (reference) => ({ ...image, reference }),
        fetch: async () => undefined,
        artifacts: { fetch: async () => [], place: async () => undefined }
      },
      views: { over: async (layers) => layers },
      isolators: [...walls, ...(around.isolators ?? []), leases.isolator()],
      devices: new DeviceDesk({ ledger }, { runDir, devices: around.devices ?? new Map() }),
      bootClock: systemBootClock,
      exec: systemExec,
      recorder: { causesOf: () => [], note: () => undefined },
      resolveUser: async () => ({ uid: 0, gid: 0, additionalGids: [] })
    },
    {
      ...{ runDir, sandboxesDir, agentId, bootId, ...limits },
      hostname: 'test',
      allowedMounts: [],
      allowedDevices: [],
      allowUnconfined: false,
      missing: () => undefined,
      settled: AbortSignal.abort()
    },
    onBroken
  )
  return { runtime, leases, outbox, tasks }
}
