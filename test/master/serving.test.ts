import t from 'tap'
import { Fault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'
import { Serving, type TermRooms } from '../../master/serving.ts'
import { LeadershipBoard } from '../../master/store/leadership-board.ts'
import { until } from '../support/until.ts'

const follower = { http: () => undefined, agent: () => undefined }

function stage(start: (rooms: number) => Promise<void> = async () => undefined) {
  const told: string[] = []
  const board = new LeadershipBoard()
  const broken: unknown[] = []
  let made = 0
  const compose = (): TermRooms => {
    made += 1
    const number = made
    const services = {
      name: 'rooms',
      start: async () => {
        told.push(`start ${number}`)
        await start(number)
      },
      stop: async () => void told.push(`stop ${number}`)
    }
    return { services, ...follower }
  }
  const cut = (): void => void told.push('cut')
  const onBroken = (e: unknown): void => void broken.push(e)
  const serving = new Serving({ leadership: board, compose, follower, cut, log: silentLog, onBroken }, { stopWithinMs: 1_000 })
  return { serving, board, told, broken }
}

t.test('each term has rooms of its own, closed before the next ones open', async (t) => {
  const { serving, board, told } = stage()
  board.gain(3)
  await serving.start()
  t.not(serving.desk, follower)
  board.lose()
  board.gain(5)
  await until(() => told.includes('start 2'))
  t.same(told, ['start 1', 'stop 1', 'cut', 'start 2'])
  board.lose()
  t.equal(serving.desk, follower, 'from the loss on nothing is answered as a leader')
  await serving.stop()
  t.same(told.slice(4), ['stop 2', 'cut'])
})

t.test('leadership that is lost while the rooms open is no failure; rooms that do not open although it leads are', async (t) => {
  const lost = stage(async () => {
    lost.board.lose()
    throw new Fault('not-leader', 'too late')
  })
  await lost.serving.start()
  lost.board.gain(2)
  await until(() => lost.told.includes('start 1'))
  await lost.serving.stop()
  t.same([lost.told, lost.broken], [['start 1'], []])

  const broken = stage(async () => {
    throw new Error('no room')
  })
  broken.board.gain(2)
  await broken.serving.start()
  t.match(broken.broken, [{ message: 'no room' }])
  await broken.serving.stop()
})
