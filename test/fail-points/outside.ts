import ts from 'typescript'

/** How a call answers, and so how a fault is put in its place (shim.ts). */
export type Shape =
  | 'promise'
  | 'sync'
  /** Answers whether something is there; a failing disk makes it say no. */
  | 'exists'
  /** The last argument is called with the error. */
  | 'callback'
  /** Returns a stream or socket at once, which tells its error later. */
  | 'emitter'
  /** Hands bytes to a stream that leaves the process. */
  | 'send'
  | 'listen'
  /** Lets go of something or signals a process: no disk is behind it, so no error of a disk is put there. */
  | 'release'
  | 'execa'
  /** A program run through the port base/exec.ts; the program's name is part of the point's. */
  | 'exec'

/** What leaves the process and where it is declared, by module. Whatever a module declares and no rule names is an error. */
interface Rule {
  readonly names: RegExp
  readonly shape: Shape | 'pure'
}

const rules: Readonly<Record<string, readonly Rule[]>> = {
  fs: [
    { names: /^(Dirent|Stats|StatsBase)\./, shape: 'pure' },
    // The reference that was promisified is a point already.
    { names: /^__promisify__$/, shape: 'pure' },
    { names: /^FSWatcher\.close$/, shape: 'release' },
    { names: /^FSWatcher\./, shape: 'pure' },
    { names: /^existsSync$/, shape: 'exists' },
    { names: /^create(Read|Write)Stream$/, shape: 'emitter' },
    { names: /^Dir\.(read|close)$/, shape: 'promise' },
    { names: /Sync$|^watch$|SyncFn/, shape: 'sync' },
    { names: /^(ReadStream|WriteStream)\./, shape: 'pure' },
    { names: /^[a-z]/, shape: 'callback' }
  ],
  'fs/promises': [
    { names: /^FileHandle\.create(Read|Write)Stream$/, shape: 'emitter' },
    { names: /./, shape: 'promise' }
  ],
  child_process: [
    { names: /^spawn(Sync)?$|^exec(File)?Sync$|^fork$/, shape: 'sync' },
    { names: /^exec(File)?$/, shape: 'callback' },
    { names: /^ChildProcess\.(kill|disconnect)$/, shape: 'release' },
    { names: /^ChildProcess\.send$/, shape: 'send' },
    { names: /^ChildProcess\./, shape: 'pure' }
  ],
  net: [
    { names: /^(connect|createConnection)$|^Socket\.connect$/, shape: 'emitter' },
    { names: /^Server\.listen$/, shape: 'listen' },
    { names: /^Server\.close$|^Socket\.(destroy|destroySoon|resetAndDestroy)$/, shape: 'release' },
    { names: /^Socket\.(write|end)$/, shape: 'send' },
    { names: /./, shape: 'pure' }
  ],
  http: [
    { names: /^(request|get)$/, shape: 'emitter' },
    { names: /^Server\.close(AllConnections|IdleConnections)?$/, shape: 'release' },
    { names: /^ServerResponse\.writeHead$|^OutgoingMessage\.flushHeaders$/, shape: 'send' },
    { names: /./, shape: 'pure' }
  ],
  stream: [
    { names: /^Writable\.(write|end)$/, shape: 'send' },
    { names: /^(Readable|Writable|Duplex)\.destroy$/, shape: 'release' },
    { names: /./, shape: 'pure' }
  ],
  'stream/promises': [{ names: /./, shape: 'promise' }],
  process: [
    { names: /^Process\.kill$/, shape: 'release' },
    { names: /./, shape: 'pure' }
  ],
  execa: [{ names: /./, shape: 'execa' }],
  systeminformation: [{ names: /./, shape: 'promise' }],
  koffi: [
    { names: /^(load|call)$/, shape: 'sync' },
    { names: /./, shape: 'pure' }
  ]
}

/** Streams that end inside the process: what they are given has not left it. */
const innerStreams = /^(PassThrough|Transform|Gunzip|Extract|Pack)$/

const moduleOf = (fileName: string): string | undefined =>
  /@types\/node\/(.+)\.d\.ts$/.exec(fileName)?.[1] ?? /node_modules\/(execa|systeminformation|koffi)\//.exec(fileName)?.[1]

/** What a declaration of the outside is called: `FileHandle.write`, `readFile`. */
function nameOf(declaration: ts.Declaration): string {
  const own = 'name' in declaration && declaration.name !== undefined ? (declaration.name as ts.Node).getText() : 'call'
  const { parent } = declaration
  if (ts.isInterfaceDeclaration(parent) || ts.isClassDeclaration(parent)) {
    return own === 'call' ? (parent.name?.text ?? own) : `${parent.name?.text ?? ''}.${own}`
  }
  return own
}

/** The shape of a call or a reference, by where its declaration stands; undefined where it stays inside the process. */
export function shapeOf(declaration: ts.Declaration | undefined, receiver: string): Shape | undefined {
  if (declaration === undefined) return undefined
  const { fileName } = declaration.getSourceFile()
  if (fileName.endsWith('/base/exec.ts')) return 'exec'
  const module = moduleOf(fileName)
  const table = module === undefined ? undefined : rules[module]
  if (table === undefined) return undefined
  if (module === 'stream' && innerStreams.test(receiver)) return undefined
  const name = nameOf(declaration)
  const shape = table.find((r) => r.names.test(name))?.shape
  if (shape === undefined) throw new Error(`no rule says how ${module} ${name} leaves the process: test/fail-points/outside.ts`)
  return shape === 'pure' ? undefined : shape
}
