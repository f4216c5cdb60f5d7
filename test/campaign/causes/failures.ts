import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CauseKind } from '../../../agent/cause/cause.ts'
import type { Stage } from './stage.ts'

/** One way to fail, with the cause that must be named first. What a variant is, is drawn from the stage's random numbers. */
export interface Failure {
  readonly name: string
  readonly cause: CauseKind
  /** Needs an agent of its own: it is killed, or its whole cgroup is squeezed. */
  readonly alone?: true
  play(stage: Stage): void | Promise<void>
}

const code = (stage: Stage): number => stage.random.between(1, 120)
/** As a child of a shell, which passes its end on. */
const asChild = (stage: Stage, words: string): string =>
  stage.pick([`${words}; exit $?`, `${words} & wait $!; exit $?`, `(${words}); code=$?; echo "it ended with $code"; exit $code`])

const exits: readonly Failure[] = [
  { name: 'exits by itself', cause: 'exit_code', play: (s) => s.shell(`${s.prelude()}exit ${code(s)}`) },
  { name: 'is false', cause: 'exit_code', play: (s) => s.launch([s.pick(['false', '/bin/false', '/usr/bin/false'])]) },
  {
    name: 'complains and exits',
    cause: 'exit_code',
    play: (s) => s.shell(`${s.prelude()}${s.pick(['ls /no/such/folder', 'cat /no/such/file', 'grep x /no/such/file'])}; exit $?`)
  },
  {
    name: 'calls what is not there',
    cause: 'exit_code',
    play: (s) => s.shell(`${s.prelude()}no-such-program-${code(s)}; exit $?`)
  },
  {
    name: 'calls what cannot be executed',
    cause: 'exit_code',
    play: (s) => s.shell(`${s.prelude()}${s.pick(['/etc/passwd', '/etc/hostname', '/etc'])}; exit $?`)
  },
  { name: 'exits with a high code', cause: 'exit_code', play: (s) => s.shell(`${s.prelude()}exit ${s.random.between(193, 255)}`) }
]

const faults: readonly Failure[] = [
  {
    name: 'touches wrong memory',
    cause: 'program_fault',
    play: (s) => s.launch([s.crasher(s.pick(['read', 'write', 'jump'] as const))])
  },
  {
    name: 'touches wrong memory in a child',
    cause: 'program_fault',
    play: (s) => s.shell(s.prelude() + asChild(s, s.crasher(s.pick(['read', 'write', 'jump'] as const))))
  },
  { name: 'executes no instruction', cause: 'program_fault', play: (s) => s.shell(`${s.prelude()}exec ${s.crasher('illegal')}`) },
  { name: 'divides by zero', cause: 'program_fault', play: (s) => s.shell(s.prelude() + asChild(s, s.crasher('division'))) },
  {
    name: 'runs into a breakpoint',
    cause: 'program_fault',
    play: (s) => s.shell(`${s.prelude()}exec ${s.crasher('breakpoint')}`)
  },
  { name: 'executes what is the kernel’s', cause: 'program_fault', play: (s) => s.launch([s.crasher('privileged')]) },
  {
    name: 'aborts',
    cause: 'abort',
    play: (s) => s.shell(s.prelude() + asChild(s, s.pick([s.crasher('abort'), "sh -c 'kill -ABRT $$'", "sh -c 'kill -6 $$'"])))
  }
]

const signals: readonly Failure[] = [
  {
    name: 'has a child that is killed',
    cause: 'child_signal',
    play: (s) => s.shell(s.prelude() + asChild(s, "sh -c 'kill -9 $$'"))
  },
  {
    name: 'kills its own child',
    cause: 'child_signal',
    play: (s) => s.shell(`${s.prelude()}sleep 100 & kill -${s.pick(['TERM', 'KILL', 'HUP', 'INT'])} $!; wait $!; exit $?`)
  },
  {
    name: 'is killed from outside',
    cause: 'outside_signal',
    async play(s) {
      const pid = await s.lasting(s.pick(['while :; do sleep 0.05; done', 'exec sleep 100', 'sleep 100; exit 3']))
      await s.wait(s.random.between(0, 300))
      if (s.pick([true, false])) process.kill(pid, 'SIGKILL')
      else s.run('sh', '-c', `kill -9 ${pid}`)
    }
  },
  {
    name: 'is killed from outside with its cgroup',
    cause: 'outside_signal',
    async play(s) {
      await s.lasting(s.pick(['sleep 100 & wait', 'exec sleep 100']))
      const file =
        s
          .cgroups(s.containerId)
          .map((d) => join(d, 'cgroup.kill'))
          .find((path) => existsSync(path)) ?? ''
      if (s.pick([true, false])) writeFileSync(file, '1')
      else s.run('sh', '-c', `echo 1 > ${file}`)
    }
  },
  {
    name: 'is asked from outside to end',
    cause: 'outside_signal',
    async play(s) {
      const [name, number] = s.pick([
        ['TERM', 15],
        ['INT', 2],
        ['HUP', 1]
      ] as const)
      const pid = await s.lasting(`trap 'exit ${128 + number}' ${name}; : > ${s.inside}/ready; while :; do sleep 0.05; done`)
      await s.until(() => existsSync(join(s.outside, 'ready')))
      if (s.pick([true, false])) process.kill(pid, `SIG${name}`)
      else s.run('sh', '-c', `kill -${name} ${pid}`)
    }
  }
]

const hungry = (s: Stage): string =>
  s.pick(['tail /dev/zero', 'awk \'BEGIN { x = "x"; while (1) x = x x }\'', "sh -c 'x=xxxxxxxx; while :; do x=$x$x; done'"])
const small = (s: Stage) => ({ memoryMiB: s.random.between(16, 40) })

const limits: readonly Failure[] = [
  { name: 'needs too much memory', cause: 'memory_limit', play: (s) => s.shell(`${s.prelude()}exec ${hungry(s)}`, small(s)) },
  {
    name: 'has a child that needs too much memory',
    cause: 'memory_limit',
    play: (s) => s.shell(s.prelude() + asChild(s, hungry(s)), small(s))
  },
  {
    name: 'gives up after a child that needed too much memory',
    cause: 'memory_limit',
    play: (s) => s.shell(`${s.prelude()}${hungry(s)} || exit ${code(s)}`, small(s))
  },
  {
    name: 'is on a node without memory',
    cause: 'host_memory',
    alone: true,
    async play(s) {
      await s.lasting(`until [ -e ${s.inside}/go ]; do sleep 0.02; done; ${s.pick(['exec ', ''])}${hungry(s)}`, {
        memoryMiB: 2_000
      })
      for (const name of ['memory.limit_in_bytes', 'memory.max']) {
        const file = s
          .cgroups('')
          .map((d) => join(d, name))
          .find((path) => existsSync(path))
        if (file !== undefined) writeFileSync(file, String(s.random.between(24, 60) * 1024 * 1024))
      }
      s.mark('go')
    }
  },
  {
    name: 'starts too many processes',
    cause: 'pids_limit',
    async play(s) {
      const more = s.pick([
        'for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; exit 0',
        'f() { f | f; }; f; exit 1',
        'while sleep 60 & do :; done'
      ])
      await s.lasting(`until [ -e ${s.inside}/go ]; do sleep 0.02; done; ${more}`)
      for (const directory of s.cgroups(s.containerId)) {
        const file = join(directory, 'pids.max')
        if (existsSync(file)) writeFileSync(file, String(s.random.between(3, 6)))
      }
      s.mark('go')
    }
  },
  {
    name: 'writes more than its disk limit',
    cause: 'disk_limit',
    play: (s) => {
      const where = s.pick(['/sandbox/f', '/var/tmp/f', '/sandbox/a'])
      const disk = { name: 'disk', kind: 'scalar', scalar: 2 * 1024 * 1024 } as const
      const resources = [{ name: 'mem', kind: 'scalar', scalar: 256 * 1024 * 1024 } as const, disk]
      s.shell(`head -c ${s.random.between(4, 9)}m /dev/zero > ${where}; sleep 100`, { resources })
    }
  },
  {
    name: 'writes onto a full file system',
    cause: 'disk_full',
    play: (s) => {
      const to = `/marks/small/${s.containerId}`
      const write = s.pick([`head -c 2m /dev/zero > ${to}`, `dd if=/dev/zero of=${to} bs=64k count=40`, `cp /bin/bash ${to}`])
      s.shell(`${s.prelude()}${write}; code=$?; rm -f ${to}; exit $code`)
    }
  }
]

const refusals: readonly Failure[] = [
  {
    name: 'has no program',
    cause: 'refusal',
    play: (s) => s.launch([s.pick(['/no/such/program', 'no-such-program', './nothing'])])
  },
  {
    name: 'has a program that is none',
    cause: 'refusal',
    play: (s) => s.launch([s.pick(['/etc/passwd', '/etc/hosts', '/etc/group'])])
  },
  { name: 'has no image', cause: 'refusal', play: (s) => s.launch(['true'], { image: s.pick(['nothing', 'redis:7', 'a/b:c']) }) },
  {
    name: 'mounts what it may not',
    cause: 'refusal',
    play: (s) =>
      s.launch(['true'], { mounts: [{ source: s.pick(['/root', '/etc', '/no/such/folder']), target: '/m', readOnly: true }] })
  },
  {
    name: 'is of nobody',
    cause: 'refusal',
    play: (s) => s.launch(['true'], { process: { user: s.pick(['nobody-knows', 'a:b', 'root:no-such-group']) } })
  },
  {
    name: 'starts nowhere',
    cause: 'refusal',
    play: (s) => s.launch(['true'], { process: { workingDirectory: s.pick(['here', './there', 'a/b']) } })
  }
]

const asked: readonly Failure[] = [
  {
    name: 'is asked to end in order',
    cause: 'operator',
    async play(s) {
      await s.lasting(`trap 'exit ${s.pick([0, 0, 3])}' TERM; while :; do sleep 0.05; done`)
      s.world.master.kill(s.containerId, { signal: '', graceMs: 5_000 })
    }
  },
  {
    name: 'is ended at once',
    cause: 'operator',
    async play(s) {
      await s.lasting(s.pick(['exec sleep 100', 'while :; do sleep 0.05; done']))
      s.world.master.kill(s.containerId, { signal: 'SIGKILL', graceMs: s.pick([0, 500]) })
    }
  },
  {
    name: 'is ended while it is launched',
    cause: 'operator',
    async play(s) {
      s.shell('sleep 100')
      await s.wait(s.pick([0, 5, 20]))
      // A master repeats a kill until the end is told: the first one may come before the agent knows the task.
      while (!s.hasEnded) {
        s.world.master.kill(s.containerId, { signal: '', graceMs: 0 })
        await s.wait(200)
      }
    }
  }
]

const away = async (s: Stage, meanwhile: () => void | Promise<void>): Promise<void> => {
  await s.world.end('SIGKILL')
  await meanwhile()
  await s.until(() => hasExit(s))
  await s.world.startAndRegister(s.signal)
}

const hasExit = (s: Stage): boolean =>
  existsSync(join(s.world.places.stateDir, 'run/exits')) &&
  readdirSync(join(s.world.places.stateDir, 'run/exits')).includes(s.containerId)

const unseen: readonly Failure[] = [
  {
    name: 'loses its monitor',
    cause: 'monitor_lost',
    async play(s) {
      await s.lasting(`until [ -e ${s.inside}/go ]; do sleep 0.02; done; exit ${s.pick([0, 1, 9])}`)
      process.kill(s.pid('conmon.pid'), 'SIGKILL')
      await s.wait(s.random.between(0, 200))
      s.mark('go')
    }
  },
  {
    name: 'exits while no agent looks',
    cause: 'exit_code',
    alone: true,
    async play(s) {
      await s.lasting(`until [ -e ${s.inside}/go ]; do sleep 0.02; done; exit ${code(s)}`)
      await away(s, () => s.mark('go'))
    }
  },
  {
    name: 'needs too much memory while no agent looks',
    cause: 'memory_limit',
    alone: true,
    async play(s) {
      await s.lasting(`until [ -e ${s.inside}/go ]; do sleep 0.02; done; ${s.pick(['exec ', ''])}${hungry(s)}`, small(s))
      await away(s, () => s.mark('go'))
    }
  },
  {
    name: 'is killed from outside while no agent looks',
    cause: 'outside_signal',
    alone: true,
    async play(s) {
      const pid = await s.lasting(s.pick(['exec sleep 100', 'while :; do sleep 0.05; done']))
      await away(s, () => s.run('sh', '-c', `kill -9 ${pid}`))
    }
  }
]

export const failures: readonly Failure[] = [...exits, ...faults, ...signals, ...limits, ...refusals, ...asked, ...unseen]
