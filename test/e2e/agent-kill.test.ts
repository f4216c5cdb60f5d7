import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Cleanup } from '../bench/cleanup.ts'
import { agentKill } from '../campaign/agent-kill/agent-kill.ts'
import { runCampaign } from '../campaign/campaign.ts'

const root = join(import.meta.dirname, '../..')
const budgetMs = 7_000

t.test('an agent that is killed at random moments of a churn of tasks loses and doubles nothing', async (t) => {
  const cleanup = new Cleanup()
  const directory = mkdtempSync(join(tmpdir(), 'hc-'))
  t.teardown(async () => {
    const left = await cleanup.run()
    if (left.length > 0) throw new Error(left.join('; '))
    rmSync(directory, { recursive: true, force: true })
  })
  const { signal } = new AbortController()
  const wish = { runs: undefined, seed: 1, long: false, more: {} }
  const campaign = await agentKill.open({ root, directory, failures: t.testdir(), cleanup, signal }, wish)
  const quiet = (): void => undefined
  const parts = { nowMs: () => performance.now(), progress: quiet, tell: quiet, keep: quiet }
  const finished = await runCampaign(campaign, [], parts, { budgetMs, signal })
  t.ok(finished.length > 0, `${finished.length} runs`)
  for (const run of finished)
    t.strictSame(run.violations, [], `${run.name}; again: npm run campaign -- ${campaign.replay(run.name)}`)
})
