import { Fault } from '../base/fault.ts'
import { filePathOf } from './artifacts.ts'
import type { SignatureRule, TaskDefinition, TenantPolicy } from './gen/messages.ts'
import { anyRole } from './ids.ts'
import { canonicalReference, dockerHub, imageForms, remoteNameOf, untagged } from './image-name.ts'
import { everyCapability } from './linux-capabilities.ts'

/** Walls that a policy can ask of every task, each with what a task without it is told. */
const walls: Readonly<Record<string, { readonly missing: string; has(task: TaskDefinition, uid: number | undefined): boolean }>> =
  {
    'no-new-privileges': { missing: 'may not ask for new privileges', has: ({ walls: w }) => w?.newPrivileges !== true },
    'read-only-root': { missing: 'must have a read-only root', has: ({ walls: w }) => w?.readOnlyRoot === true },
    'non-root': { missing: 'must run as a user other than root', has: (task, uid) => !isRoot(task, uid) },
    'own-network': { missing: 'may not use the network of the node', has: ({ network }) => network?.mode === 'none' },
    'user-namespace': { missing: 'must have ids of its own', has: ({ walls: w }) => w?.userNamespace === true },
    'private-tmp': { missing: 'must have a /tmp of its own', has: ({ walls: w }) => (w?.tmpBytes ?? 0) > 0 },
    'no-capabilities': {
      missing: 'must drop all capabilities',
      has: ({ walls: w }) => w?.dropCapabilities.includes(everyCapability) === true
    }
  }

/** The words for `required`. */
export const requirableWalls: readonly string[] = Object.keys(walls)

/** What a role without any policy may do: nothing that takes down a wall; of images and host folders what nodes give. */
export const usualPolicy: TenantPolicy = {
  role: '',
  required: [],
  images: ['*'],
  registries: ['*'],
  hostPaths: ['/'],
  devices: [],
  capabilities: [],
  seccomp: ['default'],
  signatures: []
}

/** Names of resources that are no devices. */
export const usualResources: readonly string[] = ['cpus', 'mem', 'disk', 'ports']

/** Of the built-in image, which comes from no registry. */
export const localRegistry = 'local'

/** Roles whose policy counts for this one, the nearest first: `shop/web`, `shop`, `*`. */
export function policyRoles(role: string): readonly string[] {
  const parts = role === anyRole ? [] : role.split('/')
  return [...parts.map((_, i) => parts.slice(0, parts.length - i).join('/')), anyRole]
}

/**
 * The first thing about a task that its role's policy does not allow, as one sentence; undefined where all of it is allowed. The
 * user's number is known on the node alone; without it only a user that is written as root counts as root. Pure.
 */
export function policyRefusal(policy: TenantPolicy, role: string, task: TaskDefinition, uid?: number): string | undefined {
  const found = firstRefusal(policy, task, uid)
  if (found === undefined) return undefined
  const whose = policy.role === '' ? 'no policy of its own allows it' : `so says the policy of tenant ${policy.role}`
  return `a task of role ${role} ${found.what}; ${whose}; an operator changes that with: hearth tenant set ${quoted(policy.role || role)}${found.how}`
}

interface Refusal {
  readonly what: string
  /** Options of `hearth tenant set` that would allow it. */
  readonly how: string
}

function firstRefusal(policy: TenantPolicy, task: TaskDefinition, uid: number | undefined): Refusal | undefined {
  const { required } = policy
  const missing = required.find((wall) => Object.hasOwn(walls, wall) && walls[wall]?.has(task, uid) === false)
  if (missing !== undefined) return { what: walls[missing]?.missing ?? missing, how: ' --require' }
  const unknown = required.find((wall) => !Object.hasOwn(walls, wall))
  if (unknown !== undefined) return { what: `needs the wall ${unknown}, which this version does not know`, how: ' --require' }
  return imageRefusal(policy, task.image) ?? wallRefusal(policy, task)
}

function imageRefusal({ images, registries }: TenantPolicy, image: string): Refusal | undefined {
  const registry = registryOf(image)
  if (!registries.some((one) => one === '*' || one === registry)) {
    return { what: `may not use images of ${registry}, only of ${list(registries)}`, how: ` --registry ${registry}` }
  }
  if (images.some((pattern) => matchesImage(pattern, image))) return undefined
  return { what: `may not use the image ${image}, only ${list(images)}`, how: ` --image ${quoted(image)}` }
}

function wallRefusal(policy: TenantPolicy, task: TaskDefinition): Refusal | undefined {
  const { hostPaths, devices, capabilities, seccomp } = policy
  const mount = task.mounts.find(({ source }) => !isBelow(hostPaths, source))
  if (mount !== undefined)
    return { what: `may not mount ${mount.source}, only ${list(hostPaths)}`, how: ` --host-path ${quoted(mount.source)}` }
  const file = task.artifacts.map(({ url }) => filePathOf(url)).find((path) => path !== undefined && !isBelow(hostPaths, path))
  if (file !== undefined) return { what: `may not read ${file}, only ${list(hostPaths)}`, how: ` --host-path ${quoted(file)}` }
  const device = task.walls?.devices.find(({ path }) => !isBelow(devices, path))
  if (device !== undefined)
    return { what: `may not use the device ${device.path}, only ${list(devices)}`, how: ` --device ${quoted(device.path)}` }
  const named = task.resources.find(({ name }) => !usualResources.includes(name) && !devices.includes(name))
  if (named !== undefined)
    return { what: `may not use devices named ${named.name}, only ${list(devices)}`, how: ` --device ${quoted(named.name)}` }
  const added = task.walls?.addCapabilities.find(
    (name) => !capabilities.includes(name) && !capabilities.includes(everyCapability)
  )
  if (added !== undefined) return { what: `may not add ${added}, only ${list(capabilities)}`, how: ` --cap ${added}` }
  const profile = task.seccomp || 'default'
  if (seccomp.includes(profile)) return undefined
  const what = profile === 'unconfined' ? 'may not run without seccomp' : `may not use the seccomp profile ${profile}`
  return { what, how: ` --seccomp ${quoted(profile)}` }
}

/** Which of the policy's rules of signatures an image has to keep. The built-in image is of the node itself: nobody signs it. */
export function signatureRules({ signatures }: Pick<TenantPolicy, 'signatures'>, image: string): readonly SignatureRule[] {
  return registryOf(image) === localRegistry ? [] : signatures.filter((rule) => matchesImage(rule.images, image))
}

/** However the image is written. What is no image name is nobody's. */
export function registryOf(image: string): string {
  if (untagged(image) === 'host') return localRegistry
  const canonical = canonicalReference(image)
  return canonical === undefined ? dockerHub : remoteNameOf(canonical).registry
}

const matchesImage = (pattern: string, image: string): boolean => imageForms(image).some((form) => matches(pattern, form))

function matches(pattern: string, text: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`, 's').test(text)
}

function isBelow(roots: readonly string[], path: string): boolean {
  const plain = plainPath(path)
  return roots.some((root) => plain === root || plain.startsWith(root.endsWith('/') ? root : `${root}/`))
}

/** Absolute, without `.`, `..` and empty parts; what has too many `..` ends at the root, as in the kernel. */
function plainPath(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}

function isRoot({ process }: TaskDefinition, uid: number | undefined): boolean {
  if (uid !== undefined) return uid === 0
  const user = process?.user.split(':')[0] ?? ''
  return user === 'root' || /^0+$/.test(user)
}

const list = (items: readonly string[]): string => (items.length === 0 ? 'none' : items.join(', '))
const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** Devices stand there by path, or by the name under which nodes count them. Throws `Fault('invalid')` for a policy that could never be meant. */
export function checkPolicy(policy: TenantPolicy): void {
  const unknown = policy.required.find((wall) => !requirableWalls.includes(wall))
  if (unknown !== undefined) {
    throw new Fault(
      'invalid',
      `there is no wall ${JSON.stringify(unknown)} to require: the words are ${requirableWalls.join(', ')}`
    )
  }
  const paths = [...policy.hostPaths, ...policy.devices.filter((one) => one.includes('/'))]
  const relative = paths.find((path) => path !== plainPath(path))
  if (relative !== undefined) {
    throw new Fault('invalid', `${JSON.stringify(relative)} is no plain absolute path: write it from / on, without . and ..`)
  }
  const keyless = policy.signatures.find(({ images, keys }) => images === '' || keys.length === 0)
  if (keyless !== undefined)
    throw new Fault(
      'invalid',
      `a rule of signatures names images and at least one public key, and that of ${JSON.stringify(keyless.images)} does not`
    )
}
