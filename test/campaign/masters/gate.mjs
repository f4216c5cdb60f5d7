// The only way between two masters of the campaign, one process in each namespace: what a master dials on its own loopback goes over the
// wire to the other's gate, and from there to the master itself. Between the two, frames are late, lost, doubled and out of order.
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const { own, peers, seed } = JSON.parse(process.argv[2])
/** By peer: delayMs, and of 1,000 frames how many are lost, doubled, overtaken. */
const faults = new Map()
const headBytes = 8
const frameOfMessage = 2
/** The first field of a PeerMessage that announces a snapshot (master/peers/peer-codec.ts): its parts follow, all or none. */
const isSnapshot = (body) => body[0] === 0x08 && body[1] === 0x05
let state = seed >>> 0

/** mulberry32: the same seed draws the same faults. */
function draw(below) {
  state = (state + 0x6d2b79f5) >>> 0
  let x = Math.imul(state ^ (state >>> 15), state | 1)
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
  return ((x ^ (x >>> 14)) >>> 0) % below
}

function outward(peer, socket) {
  const there = connect({ host: peer.host, port: 7100 + own })
  join(socket, there)
  there.pipe(socket)
  let held = Buffer.alloc(0)
  let isPlain = false
  let isFirst = true
  let last = Promise.resolve()
  const pass = (frame) => {
    const { delayMs = 0, overtaken = 0 } = faults.get(peer.id) ?? {}
    const write = () => there.destroyed || there.write(frame)
    const wait = () => new Promise((resolve) => setTimeout(resolve, delayMs === 0 ? 0 : draw(2 * delayMs)))
    if (delayMs === 0 && overtaken === 0) last = last.then(write)
    else if (draw(1_000) < overtaken) void wait().then(write)
    else last = last.then(wait).then(write)
  }
  socket.on('data', (chunk) => {
    if (isPlain) return void there.write(chunk)
    held = Buffer.concat([held, chunk])
    while (held.length >= headBytes && held.length >= headBytes + held.readUInt32BE(0)) {
      const end = headBytes + held.readUInt32BE(0)
      const frame = held.subarray(0, end)
      held = held.subarray(end)
      if (isFirst && /api|agents|invite/.test(frame.toString('latin1'))) {
        isPlain = true
        there.write(Buffer.concat([frame, held]))
        return
      }
      const { lost = 0, doubled = 0 } = faults.get(peer.id) ?? {}
      const isMessage = frame[headBytes] === frameOfMessage && !isFirst && !isSnapshot(frame.subarray(headBytes + 1))
      isFirst = false
      if (!isMessage) last = last.then(() => there.destroyed || there.write(frame))
      else if (draw(1_000) >= lost) {
        pass(frame)
        if (draw(1_000) < doubled) pass(frame)
      }
    }
  })
}

function join(one, other) {
  for (const [a, b] of [
    [one, other],
    [other, one]
  ]) {
    a.on('error', () => undefined)
    a.once('close', () => b.destroy())
    a.setNoDelay(true)
  }
}

const listening = []
const listen = (host, port, take) => listening.push(new Promise((resolve) => createServer(take).listen({ host, port }, resolve)))

for (const peer of peers) {
  listen('127.0.0.1', 7000 + peer.id, (socket) => outward(peer, socket))
  listen(`10.77.0.${own}`, 7100 + peer.id, (socket) => {
    const master = connect({ host: '127.0.0.1', port: 7000 + own })
    join(socket, master)
    socket.pipe(master).pipe(socket)
  })
}
await Promise.all(listening)
process.stdout.write('listening\n')
for await (const line of createInterface({ input: process.stdin })) {
  const { peer, ...of } = JSON.parse(line)
  faults.set(peer, of)
}
process.exit(0)
