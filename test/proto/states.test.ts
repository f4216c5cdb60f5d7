import t from 'tap'
import { type ContainerState, canMoveContainer, containerStates, moveContainer } from '../../proto/container-state.ts'
import { canMove, isTerminal, move, taskStates } from '../../proto/task-state.ts'

t.test('there are thirteen task states, and an end is never left', async (t) => {
  t.equal(taskStates.length, 13)
  for (const end of taskStates.filter(isTerminal)) for (const to of taskStates) t.notOk(canMove(end, to), `${end} -> ${to}`)
})

t.test('unreachable is no end: the task may come back running', async (t) => {
  t.notOk(isTerminal('unreachable'))
  t.equal(move(move('running', 'unreachable'), 'running'), 'running')
})

t.test('every state but the ends can reach an end', async (t) => {
  for (const from of taskStates.filter((s) => !isTerminal(s)))
    t.ok(
      taskStates.some((to) => isTerminal(to) && canMove(from, to)),
      from
    )
})

t.test('a kill that was asked for is not taken back', async (t) => {
  t.notOk(canMove('killing', 'running'))
  t.throws(() => move('killing', 'running'), /invariant broken/)
})

t.test('a container is removed exactly once, from any state', async (t) => {
  for (const from of containerStates.filter((s) => s !== 'removed')) {
    const reachable = new Set<ContainerState>([from])
    for (const s of reachable) for (const to of containerStates) if (canMoveContainer(s, to)) reachable.add(to)
    t.ok(reachable.has('removed'), from)
  }
  t.throws(() => moveContainer('removed', 'running'), /invariant broken/)
})
