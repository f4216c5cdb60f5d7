import { absolutePath, type Setting } from '../../base/settings.ts'
import type { ProxySettings } from './registry/proxy.ts'
import { type RegistrySettings, usualPatience } from './registry/settings.ts'

const host = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/
const certificates = ['/etc/hearth/certs.d', '/etc/containers/certs.d', '/etc/docker/certs.d']

const hosts = (text: string): string | undefined =>
  list(text).every((one) => host.test(one))
    ? undefined
    : 'must be hosts, each with its :port where it has one, separated by commas'
const mirrors = (text: string): string | undefined =>
  list(text).every((one) => mirrorOf(one) !== undefined)
    ? undefined
    : 'must be REGISTRY=ADDRESS, separated by commas, such as docker.io=https://mirror.example:5000'
const yesOrNo = (text: string): string | undefined => (text === 'yes' || text === 'no' ? undefined : 'must be yes or no')

const proxyAddress = (text: string): string | undefined =>
  URL.canParse(text) && new URL(text).protocol === 'http:'
    ? undefined
    : 'must be http://HOST:PORT, with NAME:PASSWORD@ before it where needed'

/** Where images come from. */
export const registrySettings: readonly Setting[] = [
  {
    flag: 'docker-hub',
    env: 'HEARTH_DOCKER_HUB',
    fallback: 'yes',
    help: 'no: images named without a registry are looked for at mirrors of docker.io only',
    check: yesOrNo
  },
  {
    flag: 'registry-mirrors',
    env: 'HEARTH_REGISTRY_MIRRORS',
    fallback: '',
    help: 'asked before a registry, such as docker.io=https://mirror.example',
    check: mirrors
  },
  {
    flag: 'insecure-registries',
    env: 'HEARTH_INSECURE_REGISTRIES',
    fallback: '',
    help: 'hosts that may be spoken to without TLS; loopback addresses always may',
    check: hosts
  },
  {
    flag: 'docker-config',
    env: 'HEARTH_DOCKER_CONFIG',
    fallback: '/root/.docker/config.json',
    help: 'where docker login keeps the credentials for registries',
    check: absolutePath
  },
  {
    flag: 'https-proxy',
    env: 'HTTPS_PROXY',
    fallback: '',
    help: 'proxy between this node and registries behind TLS, such as http://gateway.example:3128',
    check: proxyAddress
  },
  {
    flag: 'no-proxy',
    env: 'NO_PROXY',
    fallback: '',
    help: 'hosts that are spoken to without the proxy, with everything below them; * for all'
  }
]

export const readRegistries = (of: (flag: string) => string): RegistrySettings => ({
  dockerHub: of('docker-hub') === 'yes',
  mirrors: list(of('registry-mirrors')).flatMap((one) => mirrorOf(one) ?? []),
  insecure: list(of('insecure-registries')),
  dockerConfig: of('docker-config'),
  certificates,
  patience: usualPatience
})

export function readProxy(of: (flag: string) => string): ProxySettings | undefined {
  const url = of('https-proxy')
  return url === '' ? undefined : { url, direct: list(of('no-proxy').replace(/\s/g, '')) }
}

function mirrorOf(text: string): RegistrySettings['mirrors'][number] | undefined {
  const at = text.indexOf('=')
  const [registry, endpoint] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)]
  const isAddress = URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)
  return host.test(registry) && isAddress ? { registry, endpoint } : undefined
}

const list = (text: string): readonly string[] => text.split(',').filter((part) => part !== '')
