import { finished, type Scenario } from './scenario.ts'

/** Containers that share namespaces: struck while they begin one after the other, and while the last of them end with the pod. */
export const pod: Scenario = {
  name: 'pod',
  variants: ['plain', 'restart', 'away'],
  prepare: async () => undefined,
  act: async (s) => {
    s.pod([
      { part: 'init', body: 'echo word > /pod/word' },
      { part: 'sidecar', body: 'sleep 600', killPolicy: { graceMs: 0 } },
      { part: 'main', body: 'test "$(cat /pod/word)" = word || code=5; sleep 0.3', runtime: 'crun' }
    ])
    return []
  },
  middle: (s) => s.ordered.some((task) => s.marks(task).includes('start ')),
  meanwhile: () => true,
  finish: async () => [],
  ends: [finished, { state: 'killed', reason: 'pod_ended' }],
  counts: false,
  launches: true
}
