import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { runProgram } from './cluster.ts'

export interface TestRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** Requests, as the registry's clients sent them: method, path, and what they asked for by Range. */
  readonly asked: string[]
  /** Where it keeps its blobs: another registry over the same folder has the same images. */
  readonly directory: string
  /** The next answers to come are cut after so many bytes, one number for each connection that reaches it. */
  cutAfter(...bytes: readonly number[]): void
  /** Pushes an OCI layout's folder; skopeo writes either kind of manifest. */
  push(layout: string, name: string, format?: 'oci' | 'v2s2'): Promise<void>
}

const startMs = 20_000

/** Debian's docker-registry on a socket file, behind a port of loopback that can cut connections. Ends with the test. */
export async function startRegistry(t: Test, options: { readonly htpasswd?: string } = {}): Promise<TestRegistry> {
  const home = mkdtempSync(join(tmpdir(), 'hearth-registry-'))
  const socket = join(home, 'socket')
  mkdirSync(join(home, 'data'))
  if (options.htpasswd !== undefined) writeFileSync(join(home, 'htpasswd'), options.htpasswd)
  const auth =
    options.htpasswd === undefined ? '' : `auth:\n  htpasswd:\n    realm: hearth-test\n    path: ${join(home, 'htpasswd')}\n`
  writeFileSync(
    join(home, 'config.yml'),
    `version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: ${join(home, 'data')}\n  delete:\n    enabled: true\nhttp:\n  net: unix\n  addr: ${socket}\n  secret: x\n${auth}`
  )
  const child = spawn('docker-registry', ['serve', join(home, 'config.yml')], { stdio: 'ignore' })
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve())
    child.once('close', () => resolve())
  })
  const cuts: number[] = []
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((client) => passOn(client, socket, { cuts, asked, sockets }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.close()
    for (const open of sockets) open.destroy()
    child.kill('SIGKILL')
    await ended
    rmSync(home, { recursive: true, force: true })
  })
  await untilServes(socket)
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    host,
    asked,
    directory: join(home, 'data'),
    cutAfter: (...bytes) => cuts.push(...bytes),
    push: async (layout, name, format = 'oci') => {
      const args = ['copy', '--insecure-policy', '--dest-tls-verify=false', '--format', format]
      if (options.htpasswd !== undefined) args.push('--dest-creds', 'anna:secret')
      const ran = await runProgram('skopeo', [...args, `oci:${layout}`, `docker://${host}/${name}`])
      if (ran.code !== 0) throw new Error(`skopeo: ${ran.stderr}`)
      asked.length = 0
    }
  }
}

interface Proxy {
  readonly cuts: number[]
  readonly asked: string[]
  readonly sockets: Set<Socket>
}

function passOn(client: Socket, path: string, { cuts, asked, sockets }: Proxy): void {
  const upstream = connect(path)
  for (const one of [client, upstream]) {
    sockets.add(one)
    one.on('error', () => undefined)
    one.on('close', () => {
      sockets.delete(one)
      client.destroy()
      upstream.destroy()
    })
  }
  let left = Number.POSITIVE_INFINITY
  client.on('data', (chunk: Buffer) => {
    const head = chunk.toString('latin1')
    const [, request] = /^((?:GET|HEAD) \S+)/.exec(head) ?? []
    if (request !== undefined) {
      const range = /\r\nrange: (\S+)/i.exec(head)?.[1]
      asked.push(range === undefined ? request : `${request} ${range}`)
      left = request.includes('/blobs/') ? (cuts.shift() ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
    }
    upstream.write(chunk)
  })
  upstream.on('data', (chunk: Buffer) => {
    client.write(chunk.subarray(0, left))
    left -= chunk.length
    if (left <= 0) client.resetAndDestroy()
  })
}

async function untilServes(path: string): Promise<void> {
  const signal = AbortSignal.timeout(startMs)
  for (;;) {
    const socket = connect(path)
    const opened = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (opened) return
    signal.throwIfAborted()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
