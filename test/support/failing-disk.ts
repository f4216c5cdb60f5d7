import { type Disk, type DiskFile, systemDisk } from '../../master/store/disk.ts'

export type DiskOperation = 'write' | 'sync' | 'create' | 'open' | 'rename' | 'remove' | 'syncDirectory'

/** Says what happens to an operation: an errno name makes it fail, 'short' makes a write take half. */
export type DiskPlan = (operation: DiskOperation, path: string, bytes: number) => string | undefined

/** The real disk, with failures as planned. */
export function failingDisk(plan: DiskPlan): Disk {
  const meet = (operation: DiskOperation, path: string, bytes = 0): string | undefined => {
    const fate = plan(operation, path, bytes)
    if (fate === undefined || fate === 'short') return fate
    throw Object.assign(new Error(`${fate}: injected into ${operation}`), { code: fate })
  }
  // An open file is known by its newest name.
  const named = new Map<string, { path: string }>()
  const wrap = (file: DiskFile, path: string): DiskFile => {
    const name = { path }
    named.set(path, name)
    return {
      write: async (bytes, position) => {
        const short = meet('write', name.path, bytes.length) === 'short'
        return await file.write(short ? bytes.subarray(0, Math.ceil(bytes.length / 2)) : bytes, position)
      },
      writeSynced: async (bytes, position) => {
        const short = meet('write', name.path, bytes.length) === 'short'
        const written = await file.writeSynced(short ? bytes.subarray(0, Math.ceil(bytes.length / 2)) : bytes, position)
        meet('sync', name.path)
        return written
      },
      sync: async () => {
        meet('sync', name.path)
        await file.sync()
      },
      close: () => file.close()
    }
  }
  return {
    ...systemDisk,
    create: async (path) => {
      meet('create', path)
      return wrap(await systemDisk.create(path), path)
    },
    open: async (path) => {
      meet('open', path)
      return wrap(await systemDisk.open(path), path)
    },
    rename: async (from, to) => {
      meet('rename', to)
      await systemDisk.rename(from, to)
      const name = named.get(from)
      if (name !== undefined) name.path = to
    },
    remove: async (path) => {
      meet('remove', path)
      await systemDisk.remove(path)
    },
    syncDirectory: async (path) => {
      meet('syncDirectory', path)
      await systemDisk.syncDirectory(path)
    }
  }
}
