import { assert } from '../base/fault.ts'

/**
 *   preparing -> creating -> running -> stopping -> exited -> removing -> removed
 *        \__________\____________\___________________/
 *
 * A launch that fails goes from `preparing` or `creating` straight to `removing`; `lost` is a container whose exit nobody saw.
 */
export type ContainerState = 'preparing' | 'creating' | 'running' | 'stopping' | 'exited' | 'lost' | 'removing' | 'removed'

const next: Readonly<Record<ContainerState, readonly ContainerState[]>> = {
  preparing: ['creating', 'removing'],
  creating: ['running', 'exited', 'lost', 'removing'],
  running: ['stopping', 'exited', 'lost'],
  stopping: ['exited', 'lost'],
  exited: ['removing'],
  lost: ['removing'],
  removing: ['removed'],
  removed: []
}

export const containerStates = Object.keys(next) as readonly ContainerState[]

export const canMoveContainer = (from: ContainerState, to: ContainerState): boolean => next[from].includes(to)

export function moveContainer(from: ContainerState, to: ContainerState): ContainerState {
  assert(canMoveContainer(from, to), `container may go ${from} -> ${to}`)
  return to
}
