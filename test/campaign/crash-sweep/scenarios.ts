import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { encodeMessage } from '../../../proto/codec.ts'
import { scalar } from '../../../proto/resources.ts'
import { channels } from '../../../proto/stream-frame.ts'
import { openStream } from '../../support/stream-client.ts'
import type { ExpectedEnd } from '../invariants/expected.ts'
import { frameworkId } from '../master.ts'
import { sandboxArchive } from './archives.ts'
import { attempts } from './attempts.ts'
import { collect, importImage, importing, pulling, removeImage } from './images.ts'
import { answerOf, endOf, openingOf } from './local-call.ts'
import { pod } from './pod.ts'
import { probed } from './probed.ts'
import { finished, hasBegun, type Scenario } from './scenario.ts'
import type { Ordered, Stage, TaskWish } from './stage.ts'

const killed: ExpectedEnd = { state: 'killed', reason: 'kill_requested' }

const firstOf = (s: Stage): Ordered | undefined => s.ordered[0]
const hasEnded = (s: Stage, task: Ordered | undefined): boolean => task !== undefined && s.marks(task).includes('\nend ')
/** Out of memory the kernel may take the shell too, which would have left the last mark. */
const isGone = (s: Stage, task: Ordered | undefined): boolean => hasEnded(s, task) || (task !== undefined && !s.hasPrograms(task))
const runs = (s: Stage, task: Ordered): boolean => s.world.master.has(task.containerId, 'running') || s.hasEnded(task)
const kill = (s: Stage, task: Ordered | undefined, signal: string, graceMs: number): void => {
  if (task !== undefined) s.world.master.kill(task.containerId, { signal, graceMs })
}

const counting = (lines: number, pauseEvery: string, then = ':'): string =>
  `lines=0; while [ $lines -lt ${lines} ]; do lines=$((lines+1)); echo $lines; ${pauseEvery}; done; ${then}`
/** Ends in order when it is asked to. */
const waiting = `trap 'kill $!; code=7' TERM; sleep 600 & wait $!; wait`

const nothing = async (): Promise<readonly string[]> => []

/** A task that ends by itself. */
function runToEnd(name: string, wish: TaskWish, ends: readonly ExpectedEnd[], more: Partial<Scenario> = {}): Scenario {
  return {
    name,
    variants: ['plain', 'restart', 'away'],
    prepare: async () => undefined,
    act: async (s) => {
      s.task(wish)
      return []
    },
    middle: (s) => hasBegun(s, firstOf(s)),
    meanwhile: (s) => hasEnded(s, firstOf(s)),
    finish: nothing,
    ends,
    counts: wish.body.includes('lines'),
    launches: true,
    ...more
  }
}

/** A task that runs until something is done to it. */
function whileRunning(name: string, wish: TaskWish, act: Scenario['act'], more: Partial<Scenario>): Scenario {
  return {
    name,
    variants: ['plain', 'restart', 'away'],
    prepare: async (s) => {
      const task = s.task(wish)
      await s.settle(`the task of ${name} to run`, () => runs(s, task) && hasBegun(s, task))
      return task
    },
    act,
    middle: () => true,
    meanwhile: () => true,
    finish: async (s, task) => {
      kill(s, task, 'SIGKILL', 0)
      return []
    },
    ends: [killed],
    counts: false,
    launches: false,
    ...more
  }
}

const taskPath = (task: Ordered | undefined): string => `/v1/tasks/${frameworkId}/${task?.taskId ?? ''}`

async function exec(s: Stage, task: Ordered | undefined, terminal: boolean): Promise<readonly string[]> {
  const wish = {
    arguments: ['/bin/sh', '-c', 'read x; echo got $x; exit 5'],
    terminal,
    openStdin: true,
    user: 'root',
    rows: 24,
    columns: 80
  }
  const answer = await answerOf(s, 'POST', `${taskPath(task)}/exec`, openingOf(wish, 'word\n'))
  const end = endOf(answer)
  if (end === undefined || 'error' in end || end['exitCode'] === 5) return []
  return [`no exit code is lost: the program of exec exited with 5, and its caller was told ${JSON.stringify(end)}`]
}

/** A client that goes away in the middle: its program must not stay behind. */
async function cutExec(s: Stage, task: Ordered | undefined, terminal: boolean): Promise<readonly string[]> {
  const wish = { arguments: ['/bin/sh', '-c', 'echo here; sleep 600'], terminal, openStdin: true, rows: 24, columns: 80 }
  await talk(s, `${taskPath(task)}/exec`, wish, async (stream) => {
    await stream.saw('here')
    stream.send(channels.stdin, 'word')
    if (terminal) stream.sendJson(channels.resize, { rows: 30, columns: 90 })
    else stream.send(channels.stdinEnd, '')
  })
  return []
}

async function attach(s: Stage, task: Ordered | undefined): Promise<readonly string[]> {
  await talk(s, `${taskPath(task)}/attach`, { rows: 24, columns: 80 }, async (stream) => {
    stream.sendJson(channels.resize, { rows: 30, columns: 90 })
    stream.send(channels.stdin, 'word\r')
    await stream.saw('word')
  })
  return []
}

/** Says something over a stream and cuts it; an agent that is away, or dies meanwhile, ends the talk. */
async function talk(
  s: Stage,
  path: string,
  open: unknown,
  say: (stream: Awaited<ReturnType<typeof openStream>>) => Promise<void>
): Promise<void> {
  const late = pause(talkMs, undefined, { signal: s.signal }).catch(() => undefined)
  const stream = await Promise.race([openStream(s.world.socketPath, path, open).catch(() => undefined), late])
  if (stream === undefined) return
  await Promise.race([say(stream), stream.end.catch(() => undefined), late])
  stream.cut()
}
/** A delay may come between. */
const talkMs = 14_000

async function files(s: Stage, task: Ordered | undefined): Promise<readonly string[]> {
  const path = taskPath(task)
  // Twice, so that the second finds what the first one left.
  for (let time = 0; time < 2; time += 1) await answerOf(s, 'PUT', `${path}/archive?path=/`, sandboxArchive())
  for (const of of ['/', '/notes', '/absent', '/notes/one']) await answerOf(s, 'GET', `${path}/files?path=${of}`)
  for (const of of ['/notes/one', '/notes/link', '/absent']) await answerOf(s, 'GET', `${path}/archive?path=${of}`)
  const out = await answerOf(s, 'GET', `${path}/archive?path=/`)
  return out !== undefined && out.status === 200 && out.body.length % 512 !== 0 ? ['half an archive was told to be whole'] : []
}

async function logs(s: Stage, task: Ordered | undefined): Promise<readonly string[]> {
  const path = `${taskPath(task)}/logs`
  for (const query of ['', '?tail=2', '?sinceMs=1']) await answerOf(s, 'GET', `${path}${query}`)
  await answerOf(s, 'GET', '/v1/health')
  const following = answerOf(s, 'GET', `${path}?follow`)
  kill(s, task, 'SIGKILL', 0)
  await following
  await s.until('the task of logs to end', () => task === undefined || s.hasEnded(task) || !s.world.isRunning)
  await answerOf(s, 'GET', `${taskPath(task)}/explain`)
  return []
}

/** What the agent says that the task has is what it keeps to, whatever strikes in between. */
async function resize(s: Stage, task: Ordered | undefined): Promise<readonly string[]> {
  const path = taskPath(task)
  for (const mem of [96, 48]) {
    const body = encodeMessage('Resize', { resources: [scalar('mem', mem * 1024 ** 2)] })
    const answer = await answerOf(s, 'POST', `${path}/limits`, body)
    if (answer?.status !== 200) continue
    const stats = await answerOf(s, 'GET', `${path}/stats`)
    if (stats === undefined || stats.status !== 200) continue
    const { limits } = JSON.parse(stats.body.toString()) as { readonly limits: { readonly memoryBytes: number } }
    if (limits.memoryBytes !== mem * 1024 ** 2)
      return [`no change of limits is lost: ${mem} MiB were promised, and it has ${limits.memoryBytes} bytes`]
  }
  return []
}

const forgottenMs = 100

export const scenarios: readonly Scenario[] = [
  runToEnd('exit-zero', { body: counting(3, ':', 'sleep 0.3') }, [finished]),
  runToEnd(
    'exit-nonzero',
    { body: `${counting(3, ':', 'sleep 0.3')}; code=3`, network: 'host' },
    [{ state: 'failed', reason: 'exited', exitCode: 3 }],
    {
      meanwhile: () => true
    }
  ),
  runToEnd('launch', { body: counting(3, ':') }, [finished], {
    variants: ['restart'],
    middle: (s) => s.ordered.some((t) => s.world.master.answerTo(t.containerId) !== undefined),
    meanwhile: () => true
  }),
  runToEnd('crun', { body: counting(3, ':', 'sleep 0.3'), runtime: 'crun' }, [finished], { variants: ['plain', 'restart'] }),
  runToEnd(
    'walled',
    {
      body: counting(3, ':', 'sleep 0.3'),
      user: '1000',
      seccomp: 'open',
      walls: {
        readOnlyRoot: true,
        tmpBytes: 1_048_576,
        limits: [{ name: 'nofile', soft: 100, hard: 100 }],
        devices: [{ path: '/dev/null', target: '/dev/mine', access: 'r' }],
        addCapabilities: ['CAP_CHOWN']
      }
    },
    [finished],
    { variants: ['plain', 'restart'] }
  ),
  // Its view is made at the first launch of an agent, and used by the next.
  runToEnd(
    'user-namespace',
    { body: counting(3, ':', 'sleep 0.3'), runtime: 'crun', network: 'host', walls: { userNamespace: true } },
    [finished],
    { variants: ['plain', 'restart'], finish: collect }
  ),
  runToEnd(
    'artifacts',
    {
      body: counting(3, ':', 'test -f /sandbox/deep/notes.tar/notes/one -a -f /sandbox/deep/plain || code=5'),
      artifacts: [
        { name: 'notes.tar', bytes: sandboxArchive(), unpack: true },
        { name: 'plain', bytes: Buffer.from('plain'), unpack: false }
      ]
    },
    [finished],
    { variants: ['plain', 'restart'] }
  ),
  // It ends long before its lease does, whatever strikes: a lease is renewed while it runs, and gone with it.
  runToEnd('leased', { body: counting(3, ':', 'sleep 2'), leaseMs: 60_000 }, [finished]),
  runToEnd('half-launch', { body: counting(3, ':') }, [finished], {
    variants: ['restart'],
    first: { point: 'isolators/runtime/oci/conmon.ts:startConmon:spawn', hit: 1, fault: 'kill-after' },
    middle: (s) => !s.world.isRunning,
    meanwhile: () => true
  }),
  runToEnd(
    'oom',
    { body: 'head -c 400000000 /dev/zero | tail > /dev/null; code=$?', memoryMb: 32 },
    [{ state: 'failed', reason: 'limit_memory' }],
    { middle: (s) => hasBegun(s, firstOf(s)), meanwhile: (s) => isGone(s, firstOf(s)) }
  ),
  runToEnd(
    'rotate',
    { body: counting(9_000, 'case $lines in *00) sleep 0.01;; esac'), logBudget: { fileBytes: 65_536, files: 30 } },
    [finished],
    { meanwhile: () => true }
  ),
  whileRunning(
    'kill-grace',
    { body: waiting },
    async (s, task) => {
      kill(s, task, 'SIGTERM', 5_000)
      return []
    },
    { finish: nothing, ends: [{ state: 'killed', reason: 'kill_requested', exitCode: 7 }] }
  ),
  whileRunning(
    'kill-stubborn',
    { body: `trap '' TERM; while :; do sleep 600; done`, diskMb: 100 },
    async (s, task) => {
      kill(s, task, 'SIGTERM', 300)
      return []
    },
    { finish: nothing, ends: [{ state: 'killed', reason: 'kill_requested', exitCode: 137 }] }
  ),
  whileRunning('exec', { body: waiting }, (s, task) => exec(s, task, false), {}),
  whileRunning('terminal', { body: waiting }, (s, task) => exec(s, task, true), {}),
  whileRunning('exec-cut', { body: waiting }, (s, task) => cutExec(s, task, false), { variants: ['plain'] }),
  whileRunning('terminal-cut', { body: waiting }, (s, task) => cutExec(s, task, true), { variants: ['plain'] }),
  whileRunning('attach', { body: waiting, terminal: true }, attach, { variants: ['plain', 'restart'] }),
  whileRunning('files', { body: waiting }, files, { variants: ['plain', 'restart'] }),
  whileRunning('resize', { body: waiting, memoryMb: 64 }, resize, { variants: ['plain', 'restart'] }),
  whileRunning('logs', { body: `${counting(3, ':')}; ${waiting}` }, logs, { variants: ['plain', 'restart'] }),
  {
    ...runToEnd('forget', { body: counting(3, ':') }, [finished]),
    prepare: async (s) => {
      const task = s.task({ body: counting(3, ':') })
      await s.settle('the task of forget to end', () => s.hasEnded(task))
      return task
    },
    act: async (s, task) => {
      if (task === undefined) return []
      s.world.master.forget(task.containerId)
      const sandbox = join(s.world.places.stateDir, 'agent/sandboxes', task.containerId)
      await s.until('the sandbox to go', () => !existsSync(sandbox))
      await pause(forgottenMs) // the record of it follows
      return []
    },
    middle: () => true,
    meanwhile: () => true,
    counts: false,
    launches: false,
    forgets: true
  },
  {
    ...importing('image-remove', false),
    prepare: async (s) => {
      await importImage(s, false)
      return undefined
    },
    act: removeImage,
    middle: () => true,
    finish: removeImage,
    launches: false
  },
  attempts,
  pod,
  probed,
  importing('import', false),
  importing('import-docker', true),
  pulling,
  {
    name: 'start',
    variants: ['plain'],
    prepare: async () => undefined,
    act: nothing, // run.ts starts, ends in order and starts again
    middle: () => true,
    meanwhile: () => true,
    finish: nothing,
    ends: [],
    counts: false,
    launches: false
  }
]
