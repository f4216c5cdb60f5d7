/** JSON Schemas of what comes in. Answers are described in docs/architecture.md. */

const text = (maxLength: number, minLength = 0) => ({ type: 'string', minLength, maxLength, pattern: '^[^\\u0000]*$' })
/** What a pattern asks for, in words: the second half of the sentence that a wrong text is answered. */
export const patternWords: Readonly<Record<string, string>> = {
  '^[A-Za-z0-9][A-Za-z0-9_.-]*$': 'may hold letters, digits, dots, dashes and underscores, and begins with a letter or digit',
  '^(\\*|[A-Za-z0-9_.-]+)$': 'is * or holds letters, digits, dots, dashes and underscores',
  '^[^=\\u0000]+$': 'may not hold = or a zero byte',
  '^[^\\u0000]*$': 'may not hold a zero byte',
  '^[A-Za-z_]+$': 'holds letters and underscores only, such as NET_RAW',
  '^[a-z][a-z0-9_-]*$': 'holds names of small letters, digits, dashes and underscores',
  '^[rwm]*$': 'holds r, w and m only',
  '^/[\\x21-\\x7e]*$': 'begins with a slash and holds neither blanks nor other than ASCII characters'
}

const whole = (minimum: number, maximum = Number.MAX_SAFE_INTEGER) => ({ type: 'integer', minimum, maximum })
const closed = { type: 'object', additionalProperties: false } as const

const killPolicy = {
  ...closed,
  properties: { signal: text(32), graceMs: whole(0, 86_400_000) }
} as const

const restart = {
  ...closed,
  required: ['policy'],
  properties: {
    policy: { type: 'string', enum: ['never', 'on-failure', 'always'] },
    maxAttempts: whole(1, 1_000_000),
    backoffMs: whole(1, 86_400_000),
    maxBackoffMs: whole(1, 86_400_000),
    resetAfterMs: whole(1, 86_400_000)
  }
} as const

const port = whole(1, 65_535)
const probe = {
  ...closed,
  properties: {
    http: {
      ...closed,
      required: ['port'],
      properties: { port, path: { ...text(2048, 1), pattern: '^/[\\x21-\\x7e]*$' } }
    },
    tcp: { ...closed, required: ['port'], properties: { port } },
    command: { type: 'array', minItems: 1, maxItems: 1_000, items: text(131_071) },
    graceMs: whole(0, 86_400_000),
    intervalMs: whole(10, 86_400_000),
    timeoutMs: whole(10, 3_600_000),
    successes: whole(1, 1_000),
    failures: whole(1, 1_000)
  }
} as const

const weight = whole(1, 10_000)

const limits = {
  ...closed,
  properties: {
    cpuWeight: weight,
    cpuBurstUs: whole(1, 100_000_000),
    cpuIdle: { type: 'boolean' },
    exclusiveCores: whole(1, 4_096),
    memoryMinBytes: whole(1),
    memoryLowBytes: whole(1),
    memoryHighBytes: whole(1),
    swapBytes: whole(0),
    oomPolicy: { type: 'string', enum: ['process', 'task'] },
    pidsMax: whole(1, 4_194_304),
    ioWeight: weight,
    io: {
      type: 'array',
      maxItems: 64,
      items: {
        ...closed,
        required: ['path'],
        properties: {
          path: text(4096, 1),
          readBytesPerSecond: whole(1),
          writeBytesPerSecond: whole(1),
          readsPerSecond: whole(1),
          writesPerSecond: whole(1),
          latencyUs: whole(1, 60_000_000)
        }
      }
    },
    zswapBytes: whole(-1),
    numaNodes: text(256, 1),
    memoryNodes: text(256, 1),
    rdma: {
      type: 'array',
      maxItems: 16,
      items: {
        ...closed,
        required: ['device'],
        properties: { device: text(64, 1), handles: whole(1, 2_147_483_647), objects: whole(1, 2_147_483_647) }
      }
    },
    misc: {
      type: 'array',
      maxItems: 16,
      items: { ...closed, required: ['name', 'max'], properties: { name: text(64, 1), max: whole(0) } }
    },
    hugePages: {
      type: 'array',
      maxItems: 16,
      items: { ...closed, required: ['pageBytes', 'maxBytes'], properties: { pageBytes: whole(1), maxBytes: whole(1) } }
    }
  }
} as const

/** What may be changed of a running task; what is not named stays as it is. */
export const updateRequestSchema = {
  ...closed,
  minProperties: 1,
  properties: { milliCpu: whole(1), memoryBytes: whole(1), limits, force: { type: 'boolean' } }
} as const

const capabilities = { type: 'array', maxItems: 64, items: { ...text(64, 1), pattern: '^[A-Za-z_]+$' } } as const
const paths = { type: 'array', maxItems: 256, items: text(4096, 1) } as const
const limit = whole(-1)

const walls = {
  ...closed,
  properties: {
    addCapabilities: capabilities,
    dropCapabilities: capabilities,
    newPrivileges: { type: 'boolean' },
    userNamespace: { type: 'boolean' },
    readOnlyRoot: { type: 'boolean' },
    hiddenPaths: paths,
    readOnlyPaths: paths,
    limits: {
      type: 'array',
      maxItems: 32,
      items: { ...closed, required: ['name', 'soft', 'hard'], properties: { name: text(32, 1), soft: limit, hard: limit } }
    },
    devices: {
      type: 'array',
      maxItems: 64,
      items: {
        ...closed,
        required: ['path'],
        properties: { path: text(4096, 1), target: text(4096), access: { ...text(3), pattern: '^[rwm]*$' } }
      }
    },
    tmpBytes: whole(0),
    shmBytes: whole(0),
    settings: { type: 'object', maxProperties: 64, additionalProperties: text(4096) },
    apparmor: text(256)
  }
} as const

export const taskRequestSchema = {
  ...closed,
  required: ['image'],
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]*$' },
    image: text(1024, 1),
    arguments: { type: 'array', maxItems: 10_000, items: text(1_048_576) },
    environment: {
      type: 'array',
      maxItems: 10_000,
      items: {
        ...closed,
        required: ['name', 'value'],
        properties: { name: { ...text(4096, 1), pattern: '^[^=\\u0000]+$' }, value: text(1_048_576) }
      }
    },
    workingDirectory: text(4096),
    user: text(256),
    terminal: { type: 'boolean' },
    openStdin: { type: 'boolean' },
    rows: whole(0, 65_535),
    columns: whole(0, 65_535),
    mounts: {
      type: 'array',
      maxItems: 256,
      items: {
        ...closed,
        required: ['source', 'target'],
        properties: { source: text(4096, 1), target: text(4096, 1), readOnly: { type: 'boolean' } }
      }
    },
    network: { type: 'string', enum: ['host', 'none'] },
    milliCpu: whole(1),
    memoryBytes: whole(1),
    diskBytes: whole(1),
    limits,
    devices: {
      type: 'object',
      maxProperties: 32,
      propertyNames: { pattern: '^[a-z][a-z0-9_-]*$' },
      additionalProperties: whole(1, 1_000)
    },
    labels: { type: 'object', maxProperties: 256, additionalProperties: text(4096) },
    role: text(1024),
    runtime: { type: 'string', enum: ['runc', 'crun', 'docker'] },
    seccomp: text(64),
    walls,
    killPolicy,
    logBudget: { ...closed, properties: { fileBytes: whole(65_536), files: whole(2, 1000), maxAgeMs: whole(0) } },
    restart,
    probes: { ...closed, properties: { startup: probe, readiness: probe, liveness: probe } },
    lease: { ...closed, required: ['lengthMs'], properties: { lengthMs: whole(1) } },
    removeWhenDone: { type: 'boolean' },
    pull: { type: 'string', enum: ['missing', 'always', 'never'] },
    artifacts: {
      type: 'array',
      maxItems: 64,
      items: {
        ...closed,
        required: ['url'],
        properties: {
          url: text(4096, 1),
          sha256: text(64),
          unpack: { type: 'boolean' },
          executable: { type: 'boolean' },
          target: text(1024)
        }
      }
    }
  }
} as const

const { role: podRole, network: podNetwork, removeWhenDone: podRemoval, ...ofContainer } = taskRequestSchema.properties

export const podRequestSchema = {
  ...closed,
  required: ['name', 'containers'],
  properties: {
    name: taskRequestSchema.properties.name,
    ...{ role: podRole, network: podNetwork, removeWhenDone: podRemoval },
    shareProcesses: { type: 'boolean' },
    containers: {
      type: 'array',
      maxItems: 256,
      items: {
        ...closed,
        required: ['name', 'image'],
        properties: { ...ofContainer, part: { type: 'string', enum: ['init', 'sidecar', 'main'] } }
      }
    }
  }
} as const

const policyList = { type: 'array', maxItems: 256, items: text(1024, 1) } as const

export const policySchema = {
  ...closed,
  properties: {
    required: policyList,
    images: policyList,
    registries: policyList,
    hostPaths: policyList,
    devices: policyList,
    capabilities: policyList,
    seccomp: policyList,
    signatures: {
      type: 'array',
      maxItems: 64,
      items: {
        ...closed,
        required: ['images', 'keys'],
        properties: {
          images: { type: 'string', minLength: 1, maxLength: 255 },
          keys: { type: 'array', minItems: 1, maxItems: 16, items: { type: 'string', maxLength: 4_096 } },
          anyName: { type: 'boolean' }
        }
      }
    }
  }
} as const

export const killRequestSchema = killPolicy

export const idParams = (name: string) => ({
  type: 'object',
  required: [name],
  properties: { [name]: { type: 'string', minLength: 1, maxLength: 255 } }
})

export const forceQuery = { ...closed, properties: { force: { enum: ['true', 'false'] } } } as const
