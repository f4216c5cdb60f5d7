import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Exec } from '../../base/exec.ts'
import { nodeFile } from '../../identity/credentials.ts'
import { readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { readCgroups } from '../host/cgroups.ts'
import { judgeBudget } from './checks/budgets.ts'
import { judgeCertificates } from './checks/certificates.ts'
import { judgeClockSync } from './checks/clock.ts'
import { judgeDisks } from './checks/disk.ts'
import { judgeEntropy } from './checks/entropy.ts'
import { judgeImages } from './checks/images.ts'
import { judgeKernel } from './checks/kernel.ts'
import { judgeMemory } from './checks/memory.ts'
import { judgeNameservers, judgeRoutes } from './checks/network.ts'
import { judgePressure } from './checks/pressure.ts'
import { judgeRuntimes } from './checks/runtimes.ts'
import { judgeUnits } from './checks/units.ts'
import { readCertificates } from './gather/certificate-facts.ts'
import { readDisks } from './gather/disk-facts.ts'
import { readImageStore } from './gather/image-facts.ts'
import { readInotify } from './gather/inotify-facts.ts'
import {
  readConntrack,
  readEntropy,
  readMemory,
  readOpenFiles,
  readPressure,
  readProcessFiles,
  readThreads
} from './gather/kernel-facts.ts'
import { askNameservers, readDefaultRoutes } from './gather/network-facts.ts'
import { runOwnChecks } from './gather/own-checks.ts'
import { readClockSync, readRuntimes, readUnits } from './gather/program-facts.ts'
import type { NodeRoots } from './gather/roots.ts'
import type { CheckPlan } from './verdict.ts'

export interface HostCheckConfig {
  readonly stateDir: string
  readonly runDir: string
  readonly conmon: string
  readonly runc: string
  readonly crun: string
  /** The operator's own checks. */
  readonly checksDir: string
  /** Where the cgroups of own checks are made. */
  readonly cgroupParent: string
  /** Whether the servers of resolv.conf may be asked. */
  readonly askDns: boolean
}

/** The folders whose disks matter; those on one file system count once. */
export const healthFolders = (config: Pick<HostCheckConfig, 'stateDir' | 'runDir'>): readonly string[] => [
  config.stateDir,
  join(config.stateDir, 'agent'),
  config.runDir
]

/** So long one own check may take. */
export const ownCheckTimeoutMs = 10_000

/** Few reads of small files: the agent does these itself, every half minute. */
export function quickPlans(roots: NodeRoots, config: HostCheckConfig): readonly CheckPlan[] {
  return [
    { kind: 'disk', run: async () => judgeDisks(await readDisks(roots, healthFolders(config))) },
    { kind: 'memory', run: async () => [judgeMemory(await readMemory(roots))] },
    { kind: 'pressure', run: async () => judgePressure(await readPressure(roots)) },
    { kind: 'conntrack', run: async () => [judgeBudget('conntrack', await readConntrack(roots))] },
    { kind: 'files', run: async () => [judgeBudget('files', await readOpenFiles(roots))] },
    { kind: 'threads', run: async () => [judgeBudget('threads', await readThreads(roots))] },
    { kind: 'entropy', run: async () => [judgeEntropy(await readEntropy(roots))] },
    { kind: 'network.route', run: async () => [judgeRoutes(await readDefaultRoutes(roots))] }
  ]
}

export const agentFilesPlan = (roots: NodeRoots): CheckPlan => ({
  kind: 'files.agent',
  run: async () => [judgeBudget('agentFiles', await readProcessFiles(roots, 'self'))]
})

/** What runs programs, reads much or asks others: done in a short-lived child, every few minutes. `turn` counts the looks. */
export function thoroughPlans(exec: Exec, roots: NodeRoots, config: HostCheckConfig, turn: number): readonly CheckPlan[] {
  return [
    {
      kind: 'kernel',
      run: async () =>
        judgeKernel((await readFile(join(roots.proc, 'sys/kernel/osrelease'), 'utf8')).trim(), await readCgroups(roots))
    },
    { kind: 'clock.sync', run: async (signal) => [judgeClockSync(await readClockSync({ exec, roots }, signal))] },
    { kind: 'runtimes', run: async (signal) => judgeRuntimes(await readRuntimes(exec, config, signal)) },
    { kind: 'images', run: async () => [judgeImages(await readImageStore(join(config.stateDir, 'agent/images'), turn))] },
    {
      kind: 'inotify',
      run: async () => {
        const { instances, watches } = await readInotify(roots)
        return [judgeBudget('inotifyInstances', instances), judgeBudget('inotifyWatches', watches)]
      }
    },
    {
      kind: 'network.dns',
      run: async (signal) => judgeNameservers(config.askDns ? await askNameservers(roots, signal) : 'not-asked')
    },
    { kind: 'units', run: async (signal) => judgeUnits(await readUnits({ exec, roots }, signal)) },
    {
      kind: 'certificates',
      run: async () => judgeCertificates(await readCertificates(ownCertificates(config.stateDir)), Date.now())
    },
    {
      kind: 'own',
      deadlineMs: 60_000,
      run: async (signal) => {
        const place = { layout: readCgroupLayout(), cgroupParent: config.cgroupParent }
        return await runOwnChecks({ directory: config.checksDir, timeoutMs: ownCheckTimeoutMs, place }, signal)
      }
    }
  ]
}

/** Of the cluster that this node has joined, if it has. */
const ownCertificates = (stateDir: string): readonly string[] => [nodeFile(stateDir)].filter((path) => existsSync(path))
