import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { absolutePath, oneOfLevels, readSettings, type Setting } from '../../base/settings.ts'

const settings: readonly Setting[] = [
  { flag: 'state-dir', env: 'X_STATE_DIR', fallback: '/default', help: '', check: absolutePath },
  { flag: 'allow-mount', env: 'X_ALLOW_MOUNT', fallback: '', help: '' },
  { flag: 'log-level', env: 'X_LOG_LEVEL', fallback: 'info', help: '', check: oneOfLevels }
]
const table = { daemon: 'daemon', settings, switches: ['now'] }

t.test('flag over environment over configuration file over default; empty is not given', async (t) => {
  const file = join(t.testdir({ 'c.json': '{"stateDir": "/file", "allowMount": ["/a", "/b"]}' }), 'c.json')
  const of = (argv: readonly string[], env = {}): string => readSettings(table, argv, env).of('state-dir')
  t.equal(of([]), '/default')
  t.equal(of(['--config', file]), '/file')
  t.equal(of([], { HEARTH_CONFIG: file }), '/file')
  t.equal(of(['--config', file], { X_STATE_DIR: '/env' }), '/env')
  t.equal(of(['--config', file, '--state-dir=/flag'], { X_STATE_DIR: '/env' }), '/flag')
  t.equal(of(['--config', file, '--state-dir='], { X_STATE_DIR: '' }), '/file')
  t.equal(readSettings(table, ['--config', file], {}).of('allow-mount'), '/a,/b')
  t.same([readSettings(table, ['--now'], {}).isOn('now'), readSettings(table, [], {}).isOn('now')], [true, false])
})

t.test('every mistake of flags, environment and file is told at once', async (t) => {
  const file = join(t.testdir({ 'c.json': '{"stateDir": "here", "stateDri": "/x", "allowMount": {}}' }), 'c.json')
  const wrong = ['--state-dir', 'there', '--config', file]
  const all =
    /there is no setting "stateDri", only stateDir.*allowMount must be.*--state-dir \(X_STATE_DIR, stateDir\).*"there".*--log-level.*"loud"/
  t.throws(() => readSettings(table, wrong, { X_LOG_LEVEL: 'loud' }), { code: 'invalid', message: all })
  t.throws(() => readSettings(table, ['--nope'], { X_LOG_LEVEL: 'loud' }), {
    message: /--nope.*the daemon knows --state-dir .*--config.*loud/
  })
})

t.test('a configuration file that is none is told with the reason', async (t) => {
  const file = join(t.testdir(), 'c.json')
  const read = () => readSettings(table, ['--config', file], {})
  t.throws(read, { code: 'invalid', message: /c\.json: cannot be read \(ENOENT\)/ })
  writeFileSync(file, '{"stateDir": ')
  t.throws(read, { code: 'invalid', message: /c\.json: is not JSON/ })
  writeFileSync(file, '[]')
  t.throws(read, { code: 'invalid', message: /must hold one JSON object/ })
})
