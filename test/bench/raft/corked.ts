import type { Socket } from 'node:net'

/** What is written in one turn goes out in one system call. */
export function writeCorked(socket: Socket, bytes: Uint8Array): void {
  if (socket.writableCorked === 0) {
    socket.cork()
    process.nextTick(() => socket.uncork())
  }
  socket.write(bytes)
}
