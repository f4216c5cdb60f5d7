/** Ctrl-C and SIGTERM while a task runs in the foreground: the first is the task's, the second is ours. */
export function onInterrupts(react: { readonly first: (signal: string) => void; readonly second: () => void }): () => void {
  let seen = 0
  const listener = (signal: NodeJS.Signals): void => {
    seen += 1
    if (seen === 1) react.first(signal)
    else react.second()
  }
  const names = ['SIGINT', 'SIGTERM'] as const
  for (const name of names) process.on(name, listener)
  return () => {
    for (const name of names) process.removeListener(name, listener)
  }
}
