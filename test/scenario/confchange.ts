import { type Changed, type ChangeRefusal, changeSimply, enterJoint, leaveJoint } from '../../master/raft/changer.ts'
import { emptyConfiguration, newTracker, useConfiguration } from '../../master/raft/tracker.ts'
import { changesFrom, describeConfiguration, describeProgressMap } from './describe.ts'
import { argumentOf, booleanOf, type ScenarioCase, ScenarioRefused } from './format.ts'

/** The words of the scenario files. */
const refusals: Readonly<Record<ChangeRefusal, string>> = {
  'already-joint': 'config is already joint',
  'not-joint': "can't leave a non-joint config",
  'simple-in-joint': "can't apply simple config change in joint config",
  'no-voters-before': "can't make a zero-voter config joint",
  'no-voters-after': 'removed all voters',
  'several-voters': 'more than one voter changed without entering joint config'
}

/** Runs the cases of one membership file; each counts as one entry of the log. */
export class ConfChanges {
  readonly #tracker = newTracker({ maxMessages: 10, maxBytes: Number.MAX_SAFE_INTEGER })
  #lastIndex = 0

  constructor() {
    useConfiguration(this.#tracker, emptyConfiguration, new Map())
  }

  run(scenario: ScenarioCase): string {
    const changed = this.#change(scenario)
    this.#lastIndex++
    if (!changed.ok) return refusals[changed.reason]
    useConfiguration(this.#tracker, changed.config, changed.progress)
    return `${describeConfiguration(changed.config)}\n${describeProgressMap(changed.progress)}`
  }

  #change({ command, args, input }: ScenarioCase): Changed {
    const { config, progress, limits } = this.#tracker
    const base = { config, progress, limits, lastIndex: this.#lastIndex }
    const changes = changesFrom(input)
    if (command === 'simple') return changeSimply(base, changes)
    if (command === 'enter-joint') return enterJoint(base, booleanOf(argumentOf(args, 'autoleave') ?? 'false'), changes)
    if (command === 'leave-joint') return leaveJoint(base)
    throw new ScenarioRefused(`unknown command ${command}`)
  }
}
