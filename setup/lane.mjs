// A lane is one command of the project with a budget of minutes; over it by half, the lane fails.

/** Prints the lane's minutes; returns whether they are within the budget and a half. */
export function closeLane(name, startedMs, budgetMinutes) {
  const minutes = (performance.now() - startedMs) / 60_000
  const over = minutes > budgetMinutes * 1.5
  console.log(`lane ${name}: ${minutes.toFixed(1)} min of ${budgetMinutes}${over ? ', over the budget by more than half' : ''}`)
  return !over
}
