import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { systemExec } from '../../../agent/host/exec.ts'
import { defaultImageLimits, type ImageLimits } from '../../../agent/images/limits.ts'
import type { LocalImageStore } from '../../../agent/images/local-store.ts'
import type { ProxySettings } from '../../../agent/images/registry/proxy.ts'
import type { RegistrySettings } from '../../../agent/images/registry/settings.ts'
import { openImageStore } from '../../../agent/images/store.ts'
import type { ImportProgress, PullSecrets } from '../../../agent/images/unpack-message.ts'
import { systemClock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { type BuiltImage, bundledUnpack, never, noRegistries, scratch } from './fixtures.ts'

export interface PullBench {
  readonly directory: string
  /** A store of its own in a folder of its own. */
  store(
    name: string,
    settings?: Partial<RegistrySettings>,
    limits?: Partial<ImageLimits>,
    bootId?: string,
    proxy?: ProxySettings
  ): Promise<LocalImageStore>
  /** Writes a layout down, for skopeo to push. */
  layout(name: string, image: BuiltImage): Promise<string>
}

/** The child is bundled once for all tests of a file. */
export async function pullBench(t: Test): Promise<PullBench> {
  const directory = await scratch(t)
  const unpackProgram = await bundledUnpack(directory)
  return {
    directory,
    store: (name, settings, limits, bootId = 'boot', proxy) =>
      openImageStore(
        { exec: systemExec, log: silentLog, clock: systemClock },
        {
          directory: join(directory, name),
          unpackProgram,
          limits: { ...defaultImageLimits, reserveBytes: 0, ...limits },
          registries: { ...noRegistries, ...settings },
          bootId,
          proxy
        }
      ),
    layout: async (name, image) => {
      const folder = join(directory, name)
      for (const [path, bytes] of image.files) {
        await mkdir(dirname(join(folder, path)), { recursive: true })
        await writeFile(join(folder, path), bytes)
      }
      return folder
    }
  }
}

export const pull = (
  store: LocalImageStore,
  name: string,
  onProgress: (progress: ImportProgress) => void = () => undefined,
  secrets: PullSecrets = {}
) => store.pull(name, secrets, onProgress, never)
