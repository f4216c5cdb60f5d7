import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DeviceDesk, type NamedDevices, offerDevices, parseNamedDevices } from '../../agent/named-devices.ts'
import type { Ledger } from '../../agent/ports.ts'
import { completeMessage } from '../../proto/codec.ts'
import { scalar, scalarOf } from '../../proto/resources.ts'

const gpus: NamedDevices = new Map([['gpu', [['/dev/g0', '/dev/ctl'], ['/dev/g1', '/dev/ctl'], ['/dev/g2']]]])
const asks = (count: number) => completeMessage('TaskDefinition', { resources: [scalar('gpu', count * 1000)] })

/** A ledger in which these containers have a bundle. */
const ledgerOf = (ids: ReadonlySet<string>) =>
  ({
    view: {
      tasks: {
        *[Symbol.iterator]() {
          for (const id of ids) yield [id, { objects: new Map([[`bundle:${id}`, {}]]) }]
        }
      }
    }
  }) as unknown as Pick<Ledger, 'view'>

t.test('devices are written by name, each with all its nodes', async (t) => {
  t.same(
    [...(parseNamedDevices('gpu=/dev/g0+/dev/ctl,gpu=/dev/g1,tpu=/dev/t0') ?? [])],
    [
      ['gpu', [['/dev/g0', '/dev/ctl'], ['/dev/g1']]],
      ['tpu', [['/dev/t0']]]
    ]
  )
  for (const wrong of ['gpu', 'GPU=/dev/x', 'gpu=/etc/x', 'mem=/dev/x', 'gpu=/dev/x+', '=/dev/x'])
    t.equal(parseNamedDevices(wrong), undefined, wrong)
})

t.test('each container gets devices of its own until it is removed', async (t) => {
  const living = new Set(['a', 'b', 'c'])
  const desk = new DeviceDesk({ ledger: ledgerOf(living) }, { runDir: t.testdir(), devices: gpus })
  const paths = (id: string, count: number) => desk.lend(id, asks(count)).map(({ path }) => path)
  t.same(paths('a', 2), ['/dev/g0', '/dev/ctl', '/dev/g1'], 'a node that two of them need is there once')
  t.same(paths('a', 2), ['/dev/g0', '/dev/ctl', '/dev/g1'], 'asked again it is the same')
  t.throws(() => desk.lend('b', asks(2)), {
    code: 'exhausted',
    message: 'the task asks for 2 gpu, and of the 3 of this node 1 are free'
  })
  t.same(paths('b', 1), ['/dev/g2'])
  t.same(paths('c', 0), [])
  t.same(desk.annotationsOf('c'), {})
  living.delete('a')
  t.same(paths('c2', 1), ['/dev/g0', '/dev/ctl'])
})

t.test('an agent that starts anew reads from the bundles what is lent out', async (t) => {
  const runDir = t.testdir()
  const living = new Set(['a', 'half', 'none', 'b'])
  const first = new DeviceDesk({ ledger: ledgerOf(living) }, { runDir, devices: gpus })
  first.lend('a', asks(2))
  for (const id of ['a', 'half']) mkdirSync(join(runDir, 'c', id), { recursive: true })
  writeFileSync(join(runDir, 'c/a/config.json'), JSON.stringify({ annotations: first.annotationsOf('a') }))
  writeFileSync(join(runDir, 'c/half/config.json'), '{"annot')
  const second = new DeviceDesk({ ledger: ledgerOf(living) }, { runDir, devices: gpus })
  t.throws(() => second.lend('b', asks(2)), { code: 'exhausted' })
  t.same(
    second.lend('b', asks(1)).map(({ path }) => path),
    ['/dev/g2']
  )
})

t.test('a node offers the devices that are there and tells which are not', async (t) => {
  const offered = offerDevices(
    new Map([
      ['thing', [['/dev/null'], ['/dev/null', '/dev/no-such']]],
      ['gone', [['/dev/no-such']]]
    ])
  )
  t.equal(scalarOf(offered.resources, 'thing'), 1000)
  t.equal(offered.resources.length, 1)
  t.same(offered.capabilities, [
    { name: 'device.thing', present: true, detail: '1 of 2: /dev/no-such is no device of this node' },
    { name: 'device.gone', present: false, detail: '0 of 1: /dev/no-such is no device of this node' }
  ])
})
