import { Fault } from '../../../base/fault.ts'
import type { ContainerImage, ContainerImages } from '../runtime.ts'
import type { Engine } from './engine.ts'

/** Docker's own images, by Docker's own names. */
export function dockerImages(engine: () => Promise<Engine>): ContainerImages {
  return {
    async fetch(reference, { policy }, signal) {
      if (reference === 'host') {
        const why = 'the image host is Hearth’s own, and Docker has no such: name an image of Docker, or use --runtime oci'
        throw new Fault('unsupported', why, { reason: 'unsupported_request' })
      }
      const docker = await engine()
      if (policy === 'never' || (policy === 'missing' && (await docker.image(reference)) !== undefined)) return
      await docker.pull(reference.includes(':', reference.lastIndexOf('/')) ? reference : `${reference}:latest`, signal)
    },

    async resolve(reference): Promise<ContainerImage> {
      const image = await (await engine()).image(reference)
      if (image === undefined) {
        const why = `Docker of this node has no image ${reference}: docker pull it there, or let the task pull it`
        throw new Fault('not-found', why, { reason: 'image_unknown' })
      }
      const { id: digest, ...config } = image
      return { ...config, reference, digest, mounts: [] }
    }
  }
}
