import tseslint from 'typescript-eslint'

// Exactly the three type-aware rules that biome cannot replace: a lost promise is the worst bug of a daemon.
export default tseslint.config({
  files: ['**/*.ts'],
  ignores: ['dist/**', 'node_modules/**', '.cache/**', '.tap/**', 'proto/gen/**'],
  languageOptions: { parser: tseslint.parser, parserOptions: { projectService: true } },
  plugins: { '@typescript-eslint': tseslint.plugin },
  rules: {
    '@typescript-eslint/no-floating-promises': 'error',
    '@typescript-eslint/no-misused-promises': 'error',
    '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }]
  }
})
