import { existsSync } from 'node:fs'
import type { Isolator, OciMount } from '../isolator.ts'
import { namespaceOf } from '../namespaces.ts'

/** Files of the host that a task on the host's network needs to find others; the built-in image brings its own. */
const resolverFiles = ['/etc/resolv.conf', '/etc/hosts'] as const

/** `host`: the host's own network. `none`: a namespace with only a loopback interface. */
export const networkModes: Isolator = {
  name: 'network',
  capabilities: async () => [
    { name: 'network.host', present: true, detail: 'the host’s network namespace' },
    { name: 'network.none', present: true, detail: 'an own namespace with a loopback interface' }
  ],
  async prepare(request) {
    if (request.network === 'none') return { namespaces: [namespaceOf(request, 'network')] }
    const taken = new Set([...request.imageMounts.map((m) => m.destination), ...request.mounts.map((m) => m.target)])
    return { mounts: taken.has('/etc') ? [] : resolverFiles.filter((f) => !taken.has(f) && existsSync(f)).map(readOnlyFile) }
  },
  cleanup: async () => undefined
}

const readOnlyFile = (path: string): OciMount => ({
  destination: path,
  type: 'bind',
  source: path,
  options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec', 'rprivate']
})
