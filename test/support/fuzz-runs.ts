/** How many inputs a fuzz draws: `FUZZ_RUNS=20000` for a long one, else as few as `npm test` has time for. */
export const fuzzRuns = (few: number): number => {
  const asked = Number(process.env['FUZZ_RUNS'] ?? few)
  if (!Number.isSafeInteger(asked) || asked < 1) throw new Error('FUZZ_RUNS is a whole number above 0')
  return asked
}
