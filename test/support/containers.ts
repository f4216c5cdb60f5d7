import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { type CgroupLayout, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { BundlePart, Isolator, IsolatorRequest } from '../../isolators/isolator.ts'
import { OciRuntime } from '../../isolators/runtime/oci/oci.ts'
import { buildSpec } from '../../isolators/runtime/oci/spec.ts'
import type { LaunchRequest, Runtime } from '../../isolators/runtime/runtime.ts'
import { usualWalls } from '../../isolators/walls.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'

export interface ContainerHost {
  readonly directory: string
  readonly runDir: string
  readonly cgroupParent: string
  readonly layout: CgroupLayout
  readonly layer: string
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  request(args: readonly string[], more?: Partial<IsolatorRequest>): IsolatorRequest
  prepare(request: IsolatorRequest): Promise<LaunchRequest>
  /** Ends and removes a container of this host, walls included. */
  remove(request: IsolatorRequest): Promise<void>
}

/** What a runtime is built on. */
export interface ContainerPlace {
  readonly directory: string
  readonly runDir: string
  readonly cgroupParent: string
  readonly layout: CgroupLayout
}

/** Which runtime starts the containers; of one with images of its own, the image. */
export interface ContainerMaker {
  readonly program?: 'runc' | 'crun'
  readonly imageDigest?: string
  make?(place: ContainerPlace): Runtime
}

/** A real runtime with all isolators in a directory and a cgroup parent of its own; everything is removed when the test ends. */
export async function containerHost(
  t: { teardown(undo: () => Promise<void>): void },
  { program = 'runc', imageDigest = '', make = ociRuntime }: ContainerMaker = {}
): Promise<ContainerHost> {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-'))
  // Roots of user namespaces have to get in, as in a real state directory.
  chmodSync(directory, 0o711)
  const runDir = join(directory, 'run')
  const layout = readCgroupLayout()
  const cgroupParent = `/hearth-test-${randomBytes(4).toString('hex')}`
  const isolators = builtinIsolators({
    trash: { take: () => false },
    layout,
    cgroupParent,
    seccomp: { defaultFile: '', directory: join(directory, 'seccomp') },
    sleep: systemClock.sleep
  })
  const runtime = make({ directory, runDir, cgroupParent, layout })
  await runtime.start()
  const layer = makeBusyboxLayer(join(directory, 'layer'))
  const made = new Map<string, IsolatorRequest>()

  const remove = async (request: IsolatorRequest): Promise<void> => {
    await runtime.kill(request.containerId)
    if ((await runtime.inspect(request.containerId)).kind === 'running') {
      await runtime.wait(request.containerId, AbortSignal.timeout(20_000))
    }
    await runtime.remove(request.containerId, new AbortController().signal)
    runtime.dropExit(request.containerId)
    for (const isolator of [...isolators].reverse()) await isolator.cleanup(request, new AbortController().signal)
    made.delete(request.containerId)
  }
  t.teardown(async () => {
    for (const request of made.values()) await remove(request)
    await runtime.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  return {
    directory,
    runDir,
    cgroupParent,
    layout,
    layer,
    runtime,
    isolators,
    remove,
    request(args, more = {}) {
      const containerId = randomBytes(16).toString('hex')
      const request: IsolatorRequest = {
        containerId,
        bundleDir: join(runDir, 'c', containerId),
        sandboxDir: join(directory, 'sandboxes', containerId),
        limits: { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 64 },
        network: 'none',
        layers: [layer],
        imageMounts: [],
        mounts: [],
        process: {
          arguments: args,
          environment: ['PATH=/bin'],
          workingDirectory: '/',
          uid: 0,
          gid: 0,
          additionalGids: [],
          terminal: false,
          rows: 0,
          columns: 0,
          hostname: 'test'
        },
        walls: usualWalls,
        labels: {},
        made: [],
        journal: async () => undefined,
        ...more
      }
      made.set(containerId, request)
      return request
    },
    async prepare(request) {
      const parts: BundlePart[] = []
      mkdirSync(request.sandboxDir, { recursive: true })
      for (const isolator of isolators) parts.push(await isolator.prepare(request, new AbortController().signal))
      return {
        containerId: request.containerId,
        bundleDir: request.bundleDir,
        config: buildSpec(request, parts, {}),
        logPath: join(request.sandboxDir, 'log'),
        logMaxBytes: 10_000_000,
        terminal: request.process.terminal,
        openStdin: false,
        runtime: program,
        imageDigest
      }
    }
  }
}

export function ociRuntime({ runDir, cgroupParent, layout }: ContainerPlace): Runtime {
  const programs = { conmon: '/usr/bin/conmon', runc: '/usr/sbin/runc', crun: '/usr/bin/crun' }
  const { sleep } = systemClock
  return new OciRuntime({ layout, sleep }, { runDir, shimDir: join(runDir, 'bin'), cgroupParent, programs })
}
