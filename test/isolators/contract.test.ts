import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { systemClock } from '../../base/clock.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { removeEmpty } from '../../isolators/cgroup2/tree.ts'
import { guarded } from '../../isolators/guard.ts'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { loadIsolator } from '../../isolators/load.ts'
import { usualWalls } from '../../isolators/walls.ts'
import { isolatorContract } from '../contract/isolator.ts'
import { noContainers as skip } from '../support/bundle.ts'

const { sleep } = systemClock
const layout = readCgroupLayout()

function place(t: Test) {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-'))
  const cgroupParent = `/hearth-test-${randomBytes(4).toString('hex')}`
  t.teardown(async () => {
    rmSync(directory, { recursive: true, force: true })
    await removeEmpty(cgroupDirectories(layout, cgroupParent))
  })
  const request = (more: Partial<IsolatorRequest> = {}): IsolatorRequest => {
    const containerId = randomBytes(16).toString('hex')
    return {
      containerId,
      bundleDir: join(directory, 'c', containerId),
      sandboxDir: join(directory, 'sandboxes', containerId),
      limits: { milliCpu: 500, memoryBytes: 64 * 1024 ** 2, diskBytes: 1024 ** 2, pidsMax: 64 },
      network: 'none',
      layers: ['/usr'],
      imageMounts: [],
      mounts: [],
      process: {
        ...{ arguments: ['/bin/true'], environment: [], workingDirectory: '/', hostname: 'test' },
        ...{ uid: 0, gid: 0, additionalGids: [], terminal: false, rows: 0, columns: 0 }
      },
      walls: usualWalls,
      labels: {},
      made: [],
      journal: async () => undefined,
      ...more
    }
  }
  return { directory, cgroupParent, request }
}

const builtin = (cgroupParent: string) =>
  builtinIsolators({
    ...{ layout, cgroupParent, sleep, seccomp: { defaultFile: '', directory: '/etc/hearth/seccomp.d' } },
    trash: { take: () => false }
  })

for (const [at, { name }] of builtin('/').entries()) {
  t.test(`the isolator ${name} keeps the contract`, { skip }, async (t) => {
    isolatorContract(t, async (t) => {
      const { cgroupParent, request } = place(t)
      const make = async () => {
        const isolator = builtin(cgroupParent)[at]
        if (isolator === undefined) throw new Error('the table is shorter than it was')
        return isolator
      }
      return { isolator: await make(), again: make, request, cgroupParent }
    })
  })
}

/** `HEARTH_ISOLATOR=/path/to/module npx tap test/isolators/contract.test.ts` proves one of your own; docs/adding-an-isolator.md. */
const example = fileURLToPath(new URL('../third-party/hearth-isolator-scratch', import.meta.url))
const asked = process.env['HEARTH_ISOLATOR'] ?? ''
process.env['SCRATCH_ROOT'] = mkdtempSync(join(tmpdir(), 'hearth-scratch-'))
t.teardown(() => rmSync(process.env['SCRATCH_ROOT'] ?? '', { recursive: true, force: true }))

for (const module of asked === '' ? [example] : [example, asked]) {
  t.test(`the isolator of ${module} keeps the contract, with the guard around it`, async (t) => {
    isolatorContract(t, async (t) => {
      const { request } = place(t)
      const make = async () => guarded(await loadIsolator(module, '/', { sleep }), () => undefined)
      const labels = { 'scratch.mib': '1', ...(JSON.parse(process.env['HEARTH_ISOLATOR_LABELS'] ?? '{}') as object) }
      const folders = [process.env['SCRATCH_ROOT'] ?? '']
      return { isolator: await make(), again: make, request: () => request({ labels }), folders }
    })
  })
}
