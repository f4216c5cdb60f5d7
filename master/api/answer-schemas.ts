/**
 * JSON Schemas of what goes out, as the API document names them. They describe and do not filter; a later version may say more in
 * any object. All times are milliseconds of the Unix epoch.
 */

type Schema = Readonly<Record<string, unknown>>

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const number = { type: 'number' } as const
const whole = { type: 'integer' } as const
const orNull = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] })
const list = (items: Schema): Schema => ({ type: 'array', items })
const map = (values: Schema): Schema => ({ type: 'object', additionalProperties: values })
const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` })

/** Every property is required but those named. */
const object = (properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name))
})

const described = (schema: Schema, description: string): Schema => ({ ...schema, description })

const ranges = list(object({ begin: whole, end: whole }))

const resource = object({
  name: text,
  kind: text,
  scalar: described(whole, 'thousandths; bytes for mem and disk'),
  ranges,
  items: list(text),
  reservations: list(object({ role: text, principal: text, labels: list(object({ key: text, value: text })) })),
  disk: orNull(object({ persistenceId: text, source: text })),
  revocable: flag,
  shared: flag,
  providerId: text
})

const attempt = object({
  attempt: whole,
  containerId: text,
  state: text,
  reason: orNull(text),
  message: orNull(text),
  exitCode: orNull(whole),
  signal: orNull(whole),
  startedAtMs: orNull(whole),
  endedAtMs: orNull(whole)
})

const cause = object({
  kind: text,
  certainty: text,
  summary: text,
  evidence: list(text),
  advice: text
})

const walls = object({
  addCapabilities: list(text),
  dropCapabilities: list(text),
  newPrivileges: flag,
  userNamespace: flag,
  readOnlyRoot: flag,
  hiddenPaths: list(text),
  readOnlyPaths: list(text),
  limits: list(object({ name: text, soft: whole, hard: whole })),
  devices: list(object({ path: text, target: text, access: text })),
  tmpBytes: whole,
  shmBytes: whole,
  settings: map(text),
  apparmor: text
})

const task = object({
  taskId: text,
  frameworkId: text,
  name: text,
  role: text,
  image: text,
  arguments: list(text),
  state: text,
  reason: orNull(text),
  message: orNull(text),
  exitCode: orNull(whole),
  signal: orNull(whole),
  causes: described(list(ref('Cause')), 'why it ended, best first'),
  attempt: whole,
  attempts: described(list(ref('Attempt')), 'the last ones, oldest first'),
  ready: described(orNull(flag), 'what its probes say; null without probes'),
  restart: { enum: ['never', 'on-failure', 'always'] },
  lease: described(
    orNull(object({ lengthMs: whole, state: { enum: ['wanted', 'held', 'over'] }, grantedAtMs: orNull(whole) })),
    'the time for which it may run unless it is renewed; null for a task without'
  ),
  nodeId: orNull(text),
  hostname: orNull(text),
  containerId: orNull(text),
  seccomp: described(text, 'default, unconfined or the name of a profile'),
  walls: described(orNull(ref('Walls')), 'where they are not the usual ones'),
  labels: map(text),
  resources: list(ref('Resource')),
  limits: described(
    orNull({ type: 'object' }),
    'beyond its resources, as a TaskRequest asks for them; null where it asks for none'
  ),
  createdAtMs: whole,
  startedAtMs: orNull(whole),
  endedAtMs: orNull(whole),
  removeWhenDone: flag,
  part: described(orNull(text), 'of its pod: init, sidecar or main; null for a single task')
})

const tenant = object({
  role: text,
  from: described(orNull(text), 'whose policy it is; null: nobody’s, the usual one'),
  required: described(list(text), 'walls that every task has to have'),
  images: list(text),
  registries: list(text),
  hostPaths: list(text),
  devices: list(text),
  capabilities: list(text),
  seccomp: list(text),
  signatures: described(
    list(object({ images: text, keys: list(text), anyName: flag })),
    'images that have to be signed, each by one of the keys; anyName: a signature for another name of the image counts too'
  )
})

const check = object({
  kind: text,
  subject: text,
  verdict: { enum: ['OK', 'WARNING', 'FAILURE', 'UNKNOWN'] },
  reason: text,
  remedy: text
})

const node = object({
  nodeId: text,
  hostname: text,
  condition: text,
  version: text,
  bootId: text,
  resources: list(ref('Resource')),
  used: list(ref('Resource')),
  overCommitted: described(flag, 'the node has shrunk under its tasks'),
  attributes: list(object({ name: text, kind: text, text, number, ranges })),
  capabilities: list(object({ name: text, present: flag, detail: text })),
  registeredAtMs: whole,
  connected: flag,
  tasks: described(whole, 'how many it holds'),
  health: described(
    orNull(object({ verdict: text, refusesLaunches: flag, problems: list(ref('Check')) })),
    'null while the node is away or has not looked yet'
  )
})

const capability = object({ name: text, present: flag, detail: described(text, 'how, or why not') })

const taskStatsFields = {
  frameworkId: text,
  taskId: text,
  name: text,
  containerId: text,
  state: text,
  cpuPercent: described(orNull(number), 'of one processor, since the sample before'),
  cpuUs: orNull(whole),
  memoryBytes: orNull(whole),
  pids: orNull(whole),
  pressure: described(
    object({ cpu: orNull(number), memory: orNull(number), io: orNull(number) }),
    'percent of the last 10 s in which something of it waited'
  )
}

const isolators = object({
  isolators: described(
    list(
      object({
        name: text,
        module: described(orNull(text), 'null for one of Hearth’s own'),
        state: { enum: ['ready', 'failing', 'not-loaded'] },
        troubles: described(map(text), 'by step, the last that went wrong and not well since'),
        steps: list(text),
        capabilities: list(capability)
      })
    ),
    'in the order in which they are put up'
  ),
  host: described(list(capability), 'what else the node can do, or cannot')
})

const top = object({
  node: object({
    cpus: number,
    cpuPercent: orNull(number),
    memoryBytes: orNull(whole),
    memoryTotalBytes: orNull(whole),
    load1: orNull(number),
    pressure: object({ cpu: orNull(number), memory: orNull(number), io: orNull(number) })
  }),
  tasks: list(
    object({
      frameworkId: text,
      taskId: text,
      name: text,
      containerId: text,
      state: text,
      restarts: whole,
      cpuPercent: orNull(number),
      memoryBytes: orNull(whole),
      pids: orNull(whole),
      diskBytes: orNull(whole)
    })
  )
})

const imageFields = {
  name: text,
  digest: text,
  kind: text,
  importedAtMs: described(whole, '0 for the built-in image'),
  archiveBytes: whole,
  unpackedBytes: whole,
  entries: whole,
  layers: whole,
  skippedDevices: whole,
  skippedAttributes: whole
}

const imageDetails = object(
  {
    ...imageFields,
    layerDigests: list(text),
    views: described(whole, 'of its layers, for the ids of roles with tasks in user namespaces'),
    entrypoint: list(text),
    command: list(text),
    environment: list(text),
    workingDirectory: text,
    user: text,
    stopSignal: text,
    volumes: list(text),
    healthCheck: described(
      { type: 'object' },
      'command, and in milliseconds intervalMs, timeoutMs and graceMs; absent where the image has none'
    )
  },
  ['volumes', 'healthCheck', 'views']
)

const finding = object({
  kind: text,
  id: text,
  containerId: text,
  verdict: { enum: ['absent', 'unowned', 'different'] },
  why: text,
  isOurs: flag
})

const fsck = object({
  findings: list(ref('Finding')),
  repairs: list(object({ finding: ref('Finding'), action: text, why: text })),
  orphans: described(map(whole), 'objects present and unowned, by kind'),
  seen: map(whole),
  unseen: described(list(text), 'what could not be looked at, and why'),
  quarantined: whole,
  tookMs: number
})

const raftFields = {
  raftId: whole,
  role: { enum: ['follower', 'pre-candidate', 'candidate', 'leader', 'failed'] },
  term: whole,
  leader: described(whole, 'Raft id, 0 for nobody'),
  lastIndex: whole,
  committed: whole,
  applied: whole,
  snapshotIndex: whole,
  segments: whole,
  isDiskFull: flag,
  highestRaftId: described(whole, 'ever given away')
}

const memberFields = {
  raftId: whole,
  nodeId: text,
  address: described(text, 'where its peers reach it'),
  agentAddress: described(text, 'where agents reach it; empty: only on its own host'),
  role: { enum: ['voter', 'learner', 'leaving'] }
}

const raft = object({
  ...raftFields,
  members: list(
    object({
      ...memberFields,
      progress: described(orNull(object({ state: text, match: whole, isActive: flag })), 'null where this master does not lead')
    })
  )
})

const identity = object({
  clusterId: text,
  authorities: list(object({ digest: described(text, 'sha256 of the certificate, hexadecimal'), untilMs: number, signs: flag })),
  nodes: list(object({ nodeId: text, role: text, hostname: text, untilMs: number, admittedAtMs: number, authority: text })),
  tokens: list(object({ tokenId: text, role: text, usesLeft: whole, expiresAtMs: number, createdAtMs: number }))
})

const papers = {
  type: 'object',
  required: ['clusterId', 'certificate', 'authorities'],
  properties: { clusterId: text, certificate: described(text, 'PEM'), authorities: described(text, 'PEM'), clusterKey: text }
}

/** By the name that the document gives them. */
export const answerSchemas: Readonly<Record<string, Schema>> = {
  Task: task,
  Tasks: object({ tasks: list(ref('Task')) }),
  Attempt: attempt,
  Walls: walls,
  Tenant: tenant,
  Tenants: object({ tenants: list(ref('Tenant')) }),
  Cause: cause,
  Explanation: object({
    status: { type: 'object', description: 'as the node last told it (TaskStatus in proto/types.proto)' },
    lastLines: list(text),
    record: described(list({ type: 'object' }), 'rows of the node’s flight recorder, oldest first, each with atMs and event')
  }),
  Files: object({
    entries: list(object({ name: text, kind: text, bytes: whole, mode: whole, modifiedMs: number })),
    truncated: flag
  }),
  Resource: resource,
  Node: node,
  Nodes: object({ nodes: list(ref('Node')) }),
  Check: check,
  Health: { ...object({ verdict: text, checks: list(ref('Check')) }), additionalProperties: true },
  Top: top,
  Isolators: isolators,
  TaskStats: object({ tasks: list(object(taskStatsFields)) }),
  TaskDetails: object({
    ...taskStatsFields,
    limits: described({ type: 'object' }, 'as they hold now; 0 is none'),
    usage: described(map({ type: 'object' }), 'by isolator')
  }),
  Image: object(imageFields),
  ImageDetails: imageDetails,
  Images: object({ images: list(ref('Image')) }),
  Collected: object({ collected: object({ layers: whole, blobs: whole, bytes: whole }) }),
  Pruned: object({ pruned: object({ images: list(text), layers: whole, blobs: whole, bytes: whole }) }),
  Finding: finding,
  Fsck: fsck,
  Cluster: object({ clusterId: text, nodeId: text, term: whole, index: whole, featureLevel: whole, epoch: whole }),
  Raft: raft,
  RaftMembers: object({
    askedRaftId: described(whole, 'the master that was asked'),
    leader: whole,
    term: whole,
    members: list(
      object({
        ...memberFields,
        own: described(orNull(object(raftFields)), 'as it sees itself; null where it was not reached'),
        problem: text
      })
    )
  }),
  RaftMember: object({ raftId: whole, nodeId: text }),
  Transferred: object({ from: described(whole, 'who led') }),
  Snapshot: object({ snapshotIndex: whole }),
  Identity: identity,
  Token: object({ tokenId: text, token: described(text, 'H1.<id>.<secret>.<sha256 of the authority>') }),
  Papers: papers,
  Authority: object({ digest: text }),
  Operators: object({
    operators: list(
      object({ name: text, role: text, tenant: text, createdAtMs: number, expiresAtMs: described(number, '0: never') })
    )
  }),
  OperatorToken: object({ name: text, token: text }),
  Audit: object({
    entries: list(object({ atMs: number, who: text, from: text, method: text, path: text, status: whole }))
  }),
  Version: object({ version: text, protocol: object({ min: whole, max: whole }) })
}
