import { type Clock, systemClock } from '../base/clock.ts'
import { Fault, faultTable, isFault } from '../base/fault.ts'
import { type Random, systemRandom } from '../base/random.ts'
import { backOffMs } from '../base/retry.ts'
import type { Endpoint } from './endpoint.ts'
import { sendRequest } from './http.ts'
import { type Query, withQuery } from './operator-client.ts'

export interface ServerEvent {
  readonly id: string
  readonly event: string
  readonly data: unknown
}

/** An event line longer than this is refused: the largest is a snapshot of all tasks and nodes. */
const maxEventBytes = 64 * 1024 * 1024

/** Splits a `text/event-stream` body (HTML standard, "Server-sent events") into events; comments and retry hints are dropped. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const text = new TextDecoder()
  let held = ''
  let fields: { id?: string; event?: string; data?: string } = {}
  for await (const chunk of body) {
    held += text.decode(chunk, { stream: true })
    if (held.length > maxEventBytes) throw new Fault('exhausted', `an event is over the limit of ${maxEventBytes} bytes`)
    const lines = held.split(/\r?\n/)
    held = lines.pop() ?? ''
    for (const line of lines) {
      if (line !== '') fields = addField(fields, line)
      else {
        if (fields.data !== undefined) yield eventOf(fields)
        fields = {}
      }
    }
  }
}

function addField(fields: { id?: string; event?: string; data?: string }, line: string): typeof fields {
  const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
  if (name === 'data') return { ...fields, data: fields.data === undefined ? value : `${fields.data}\n${value}` }
  return name === 'id' || name === 'event' ? { ...fields, [name]: value } : fields
}

function eventOf(fields: { readonly id?: string; readonly event?: string; readonly data?: string }): ServerEvent {
  try {
    return { id: fields.id ?? '', event: fields.event ?? 'message', data: JSON.parse(fields.data ?? 'null') }
  } catch (cause) {
    throw new Fault('corrupt', 'an event whose data is not JSON', { event: fields.event ?? '' }, cause)
  }
}

export interface FollowParts {
  readonly clock: Clock
  readonly random: Random
  /** Opens the stream after the event of that id; empty: from now on, with a snapshot first. */
  readonly open: (lastEventId: string, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>
}

const pause = { firstMs: 200, mostMs: 5_000 }

/**
 * Events until the signal aborts. A connection that broke or was closed is opened again where it stopped; after `budget`
 * connections in a row without one event the reason of the last is thrown.
 */
export async function* followEvents(
  parts: FollowParts,
  lastEventId: string,
  budget: number,
  signal: AbortSignal
): AsyncGenerator<ServerEvent> {
  let last = lastEventId
  for (let failures = 0; !signal.aborted; ) {
    let reason: unknown = new Fault('unavailable', 'the master closes the event stream at once')
    try {
      for await (const event of readEvents(await parts.open(last, signal))) {
        failures = 0
        if (event.id !== '') last = event.id
        yield event
      }
    } catch (e) {
      if (signal.aborted || !canResume(e)) throw e
      reason = e
    }
    failures += 1
    if (failures > budget) throw reason
    await parts.clock.sleep(backOffMs(pause, failures - 1, parts.random), signal)
  }
}

/** Faults say themselves whether a retry helps; any other error here is a connection that broke. */
const canResume = (e: unknown): boolean => (isFault(e) ? faultTable[e.code].retryHelps : e instanceof Error && 'code' in e)

/**
 * The master's events, resumed by itself. A `reset` event means that the snapshot after it replaces everything known so far.
 * Its own file, because what draws at random costs a command line milliseconds at its start.
 */
export function clusterEvents(
  endpoint: Endpoint,
  filters: Query,
  lastEventId: string,
  signal: AbortSignal
): AsyncGenerator<ServerEvent> {
  const open = (last: string, stop: AbortSignal): Promise<AsyncIterable<Uint8Array>> => {
    const headers = { accept: 'text/event-stream', ...(last === '' ? {} : { 'last-event-id': last }) }
    return sendRequest(endpoint, { method: 'GET', path: withQuery('/v1/events', filters), headers }, stop)
  }
  return followEvents({ clock: systemClock, random: systemRandom, open }, lastEventId, 5, signal)
}
