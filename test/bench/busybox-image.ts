import { spawn } from 'node:child_process'
import { request } from 'node:http'
import type { Readable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import { channels, StreamFrameDecoder } from '../../proto/stream-frame.ts'

export const imageName = 'bench'

/** Imports a root file system through the agent's local API. */
export async function importImage(socketPath: string, rootfs: string): Promise<void> {
  const tar = spawn('tar', ['-C', rootfs, '--numeric-owner', '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const { status, body } = await post(socketPath, tar.stdout)
    if (status !== 200) throw new Fault('unavailable', `the image import was answered with ${status}: ${body.toString()}`)
    const last = new StreamFrameDecoder().push(body).find((f) => f.channel === channels.end)
    const answer: unknown = last === undefined ? {} : JSON.parse(Buffer.from(last.data).toString())
    if (typeof answer !== 'object' || answer === null || !('image' in answer)) {
      throw new Fault('unavailable', `the image import failed: ${JSON.stringify(answer)}`)
    }
  } finally {
    tar.kill()
  }
}

function post(socketPath: string, body: Readable): Promise<{ readonly status: number; readonly body: Buffer }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method: 'POST', path: `/v1/images?name=${imageName}&kind=rootfs` }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }))
    })
    sent.on('error', (cause) => reject(new Fault('unavailable', `the image import broke off: ${cause.message}`, {}, cause)))
    body.pipe(sent)
  })
}
