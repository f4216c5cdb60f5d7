import tseslint from 'typescript-eslint'

// Exactly the three type-aware rules that biome cannot replace: a lost promise is the worst bug of a daemon.
// tap keeps track of the tests it was given, so that their promises are not lost.
const subtest = { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' }

export default tseslint.config({
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
