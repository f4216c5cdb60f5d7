import { Fault } from '../base/fault.ts'
import { decodeMessage, encodeMessage, type Init } from './codec.ts'
import { encodeFrame, type Frame } from './frame.ts'
import type { Messages } from './gen/messages.ts'

export const protocolVersion = { min: 1, max: 1 } as const

/** Frame type numbers of the agent link. Never reuse one. */
const frameTypes = {
  Hello: 1,
  Welcome: 2,
  Refusal: 3,
  Goodbye: 4,
  Register: 10,
  Registered: 11,
  Heartbeat: 12,
  HeartbeatAnswer: 13,
  Launch: 20,
  LaunchAnswer: 21,
  Kill: 22,
  Forget: 23,
  TaskStatus: 24,
  StatusAcknowledgement: 25,
  LeaseRequest: 26,
  LeaseGrant: 27,
  StreamOpen: 30,
  StreamHead: 31,
  StreamData: 32,
  StreamCredit: 33,
  StreamEnd: 34
} as const

export type WireName = keyof typeof frameTypes

const nameOf = new Map<number, WireName>(Object.entries(frameTypes).map(([name, type]) => [type, name as WireName]))

export type WireMessage = { readonly [K in WireName]: { readonly kind: K; readonly message: Messages[K] } }[WireName]

export function encodeWire<K extends WireName>(kind: K, message: Init<Messages[K]>): Buffer {
  return encodeFrame(frameTypes[kind], encodeMessage(kind, message))
}

/** Throws `Fault('unsupported')` for a frame type that this version does not know, `Fault('invalid')` for a broken body. */
export function decodeWire(frame: Frame): WireMessage {
  const kind = nameOf.get(frame.type)
  if (kind === undefined) throw new Fault('unsupported', `frame type ${frame.type} is unknown`, { type: frame.type })
  return { kind, message: decodeMessage(kind, frame.body) } as WireMessage
}

/** The highest protocol both sides speak. Throws `Fault('unsupported')` where there is none. */
export function agreeProtocol(min: number, max: number): number {
  const agreed = Math.min(max, protocolVersion.max)
  if (agreed < Math.max(min, protocolVersion.min)) {
    const range = `${protocolVersion.min} to ${protocolVersion.max}`
    throw new Fault('unsupported', `the peer speaks protocol ${min} to ${max}, this one ${range}: upgrade the older side`)
  }
  return agreed
}
