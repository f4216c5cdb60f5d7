import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'

const root = join(import.meta.dirname, '../..')
const run = (program: string, args: readonly string[], env = {}): string =>
  execFileSync(program, args, { encoding: 'utf8', env: { ...process.env, ...env } })

/** Builds the package as somebody would whose umask and time zone are these. */
function build(out: string, umask: string, zone: string): string {
  mkdirSync(out)
  const script = `umask ${umask}; exec "$0" "$@"`
  run('sh', ['-c', script, process.execPath, join(root, 'setup/package.mjs'), '--out', out], { TZ: zone })
  return join(out, readdirSync(out)[0] ?? '')
}

t.test('the same sources make the same package, whoever builds it', async (t) => {
  const folder = t.testdir()
  const [first, second] = [build(join(folder, 'a'), '022', 'UTC'), build(join(folder, 'b'), '077', 'Asia/Tokyo')]
  t.ok(readFileSync(first).equals(readFileSync(second)))
  t.ok(statSync(first).size <= 40e6, `${statSync(first).size} bytes`)

  const tree = join(folder, 'tree')
  run('dpkg-deb', ['--extract', first, tree])
  run('dpkg-deb', ['--control', first, join(folder, 'control')])

  t.test('what it says of itself', async (t) => {
    const control = readFileSync(join(folder, 'control/control'), 'utf8')
    for (const name of ['runc', 'conmon', 'iproute2', 'nftables', 'systemd'])
      t.match(control, new RegExp(`Depends:.*\\b${name}\\b`))
    t.notMatch(control, /Depends:.*nodejs/)
    t.match(readFileSync(join(folder, 'control/conffiles'), 'utf8'), /^\/etc\/hearth\/agent.json\n\/etc\/hearth\/master.json\n$/)
    for (const script of ['preinst', 'postinst', 'prerm', 'postrm']) run('sh', ['-n', join(folder, 'control', script)])
  })

  t.test('its programs run on the runtime it carries, without a Node on the path', async (t) => {
    const programs = join(tree, 'usr/lib/hearth/current')
    t.same(
      readdirSync(programs).filter((name) => name.endsWith('.cjs')),
      readdirSync(join(root, 'dist')).filter((name) => name.endsWith('.cjs')),
      'all that was built'
    )
    const version = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
    t.match(run(join(programs, 'node'), [join(programs, 'hearth.cjs'), '--version'], { PATH: '/nowhere' }), version)
    t.equal(statSync(tree).mode & 0o777, 0o755, 'the root of the tree, which dpkg lays over /')
  })

  t.test('manual page and completions tell the commands there are', async (t) => {
    const page = gunzipSync(readFileSync(join(tree, 'usr/share/man/man1/hearth.1.gz'))).toString()
    for (const words of ['hearth task run', 'hearth node list', 'stateDir', 'allowMount', 'HEARTH_HTTP'])
      t.ok(page.includes(words), words)
    t.notMatch(page, /undefined|\[object/)
    const bash = join(tree, 'usr/share/bash-completion/completions/hearth')
    run('bash', ['-n', bash])
    const complete = `source "$0"; COMP_WORDS=(hearth task ''); COMP_CWORD=2; _hearth; echo "\${COMPREPLY[@]}"`
    t.match(run('bash', ['-c', complete, bash]), /\brun\b.*\blogs\b/)
    t.match(readFileSync(join(tree, 'usr/share/zsh/vendor-completions/_hearth'), 'utf8'), /^#compdef hearth/)
    t.match(readFileSync(join(tree, 'usr/share/fish/vendor_completions.d/hearth.fish'), 'utf8'), /complete -c hearth/)
  })
})
