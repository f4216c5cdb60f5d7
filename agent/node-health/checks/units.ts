import { type Check, rowsOf } from '../verdict.ts'

export interface UnitFacts {
  readonly name: string
  readonly loadState: string
  readonly activeState: string
  readonly subState: string
  readonly restarts: number
}

/** `systemctl show -p Id,LoadState,ActiveState,SubState,NRestarts UNIT...`: blocks of NAME=value, one blank line between them. */
export function parseUnits(text: string): readonly UnitFacts[] {
  return text.split(/\n\s*\n/).flatMap((block) => {
    const of = (name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(block)?.[1]?.trim() ?? ''
    if (of('Id') === '') return []
    const restarts = Number(of('NRestarts'))
    return [
      {
        name: of('Id'),
        loadState: of('LoadState'),
        activeState: of('ActiveState'),
        subState: of('SubState'),
        restarts: Number.isFinite(restarts) ? restarts : 0
      }
    ]
  })
}

export function judgeUnits(units: readonly UnitFacts[] | 'not-systemd'): readonly Check[] {
  if (units === 'not-systemd') return [rowsOf('units').ok('this host is not under systemd')]
  const known = units.filter((unit) => unit.loadState !== 'not-found')
  if (known.length === 0) return [rowsOf('units').ok('no unit of Hearth is installed: something else starts the agent')]
  return known.map(judgeUnit)
}

function judgeUnit({ name, loadState, activeState, subState, restarts }: UnitFacts): Check {
  const row = rowsOf('units', name)
  const restarted = restarts > 0 ? `, restarted ${restarts} times` : ''
  const state = `${activeState} (${subState})${restarted}`
  if (loadState !== 'loaded') {
    return row.warning(`${loadState}: systemd cannot use the unit’s file`, `systemctl status ${name}`)
  }
  if (activeState === 'failed') return row.warning(state, `journalctl -u ${name} tells why; then systemctl restart ${name}`)
  return row.ok(state)
}
