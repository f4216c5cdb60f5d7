import tseslint from 'typescript-eslint'

// Exactly the three type-aware rules that biome cannot replace: a lost promise is the worst bug of a daemon.
export default tseslint.config({
  files: ['**/*.ts'],
  ignores: ['dist/**', 'node_modules/**', '.cache/**', '.tap/**', 'proto/gen/**'],
  languageOptions: { parser: tseslint.parser, parserOptions: { projectService: true } },
  plugins: { '@typescript-eslint': tseslint.plugin },
  rules: {
    // tap itself waits for its subtests.
    '@typescript-eslint/no-floating-promises': [
      'error',
      { allowForKnownSafeCalls: [{ from: 'package', package: '@tapjs/test', name: 'test' }] }
    ],
    '@typescript-eslint/no-misused-promises': 'error',
    '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
  }
})
