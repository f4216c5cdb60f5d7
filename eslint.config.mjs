import tseslint from 'typescript-eslint'

// Exactly the three type-aware rules that biome cannot replace: a lost promise is the worst bug of a daemon. And one border: the ports.
// tap keeps track of the tests it was given, so that their promises are not lost.
const subtest = { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' }

/**
 * The ports: what leaves the agent goes through these modules, imported statically, and nothing else. A test build makes every call
 * of them a fail point (test/fail-points); a call that went another way would be one that no crash sweep strikes.
 */
const ports = ['fs', 'fs/promises', 'child_process', 'net', 'http']
/** Modules that reach nothing outside the process. */
const pure =
  'assert buffer crypto diagnostics_channel events os path perf_hooks stream stream/promises timers/promises url util zlib'.split(
    ' '
  )
const strangers = { regex: `^node:(?!(?:${[...ports, ...pure].join('|')})$)|^(?:module|vm|worker_threads)$` }
const otherPorts =
  'the ports are node:fs, node:fs/promises, node:child_process, node:net and node:http: what leaves the agent by another way is no fail point'
/** Packages that leave the process themselves, each in the one file that holds it. */
const leaving = {
  execa: 'agent/host/exec.ts',
  dockerode: 'isolators/runtime/docker/dockerode-engine.ts',
  systeminformation: 'agent/host/hardware.ts',
  koffi: 'agent/host/libc.ts',
  pino: 'agent/run.ts'
}
const leavingPackage = { regex: `^(?:${Object.keys(leaving).join('|')})$` }
const holders = Object.values(leaving)
const wayOut = (name) => ({ property: name, object: 'process', message: otherPorts })
const hiddenWays = {
  'no-restricted-globals': [
    'error',
    ...['fetch', 'WebSocket', 'EventSource', 'XMLHttpRequest', 'require', 'module'].map((name) => ({ name, message: otherPorts }))
  ],
  'no-restricted-properties': [
    'error',
    ...['binding', '_linkedBinding', 'dlopen', 'getBuiltinModule', 'chdir', 'execve', 'mainModule'].map(wayOut),
    ...['fetch', 'WebSocket', 'EventSource', 'require', 'process'].map((property) => ({
      object: 'globalThis',
      property,
      message: otherPorts
    }))
  ],
  'no-eval': 'error',
  'no-new-func': 'error'
}

export const outsideRules = [
  {
    files: ['agent/**/*.ts', 'isolators/**/*.ts', 'base/**/*.ts'],
    ignores: holders,
    rules: {
      ...hiddenWays,
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { ...strangers, message: otherPorts },
            { ...leavingPackage, message: 'it leaves the process: agent/host holds it' }
          ]
        }
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector: 'ImportExpression:not([source.value=/^\\.{1,2}\\u002f.*\\.ts$/])',
          message: 'imports are static, so that a fail point is found; only a file of our own may be loaded late'
        }
      ]
    }
  },
  // A module that the operator names is loaded by its name; what it then does is no call of ours, and no fail point.
  { files: ['isolators/load.ts'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: holders,
    rules: {
      ...hiddenWays,
      'no-restricted-imports': ['error', { patterns: [{ ...strangers, message: otherPorts }] }],
      'no-restricted-syntax': [
        'error',
        {
          selector: `ImportExpression:not([source.value=/${leavingPackage.regex}/])`,
          message: 'only what this file holds is loaded late'
        }
      ]
    }
  }
]

/** The child that pulls images speaks TLS with registries; it is short-lived, and no agent. */
outsideRules.push({
  files: ['agent/images/registry/http.ts'],
  rules: {
    'no-restricted-imports': [
      'error',
      { patterns: [{ regex: strangers.regex.replace('|http|', '|http|https|'), message: otherPorts }] }
    ]
  }
})

export default tseslint.config(...outsideRules, {
  files: ['**/*.ts'],
  ignores: ['dist/**', 'node_modules/**', '.cache/**', '.tap/**', 'proto/gen/**'],
  languageOptions: { parser: tseslint.parser, parserOptions: { projectService: true } },
  plugins: { '@typescript-eslint': tseslint.plugin },
  rules: {
    '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafePromises: [subtest] }],
    '@typescript-eslint/no-misused-promises': 'error',
    '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
  }
})
