import t from 'tap'
import { eventually, runProgram, startCluster } from '../support/cluster.ts'

/** `script` of util-linux gives a command a real terminal whose input is ours. */
const typed = (stateDir: string, command: string, input: string) =>
  runProgram('script', ['-qefc', `stty rows 33 cols 101; ${command}`, '/dev/null'], {
    input,
    env: { HEARTH_STATE_DIR: stateDir, TERM: 'xterm' }
  })

t.test('a terminal reaches into the container and back', async (t) => {
  const cluster = await startCluster(t)
  const hearth = `${process.execPath} -- ${new URL('../../dist/hearth.cjs', import.meta.url).pathname}`

  t.test('task run -it shows the program a terminal of the right size and ends with its exit code', async (t) => {
    const ran = await typed(
      cluster.stateDir,
      `${hearth} task run -it --rm host -- sh -c 'stty size; read x; echo got $x; exit 5'`,
      'hello\n'
    )
    t.equal(ran.code, 5, ran.stdout + ran.stderr)
    t.match(ran.stdout, /33 101/)
    t.match(ran.stdout, /got hello/)
  })

  t.test('task exec -it does too, in a container that has none', async (t) => {
    await cluster.hearth(['task', 'run', '-d', '--name', 'box', 'host', '--', 'sleep', '1000'])
    const ran = await eventually(async () => {
      const tried = await typed(
        cluster.stateDir,
        `${hearth} task exec -it box -- sh -c 'tty; stty size; read x; echo got $x; exit 6'`,
        'there\n'
      )
      return tried.code === 69 ? undefined : tried
    })
    t.equal(ran.code, 6, ran.stdout + ran.stderr)
    t.match(ran.stdout, /\/dev\/pts\/\d+/)
    t.match(ran.stdout, /33 101/)
    t.match(ran.stdout, /got there/)
    await cluster.hearth(['task', 'rm', '--force', 'box'])
  })

  t.test('task run -i takes standard input to its end', async (t) => {
    const ran = await cluster.hearth(['task', 'run', '-i', '--rm', 'host', '--', 'sort'], { input: 'b\na\nc\n' })
    t.strictSame({ ...ran }, { code: 0, stdout: 'a\nb\nc\n', stderr: '' })
  })
})
