import fc from 'fast-check'
import t from 'tap'
import { isFault } from '../../base/fault.ts'
import { containerId, newContainerId, role, taskId } from '../../proto/ids.ts'

t.test('our own ids are 32 hexadecimal digits and nothing else', async (t) => {
  t.equal(containerId(newContainerId()).length, 32)
  for (const wrong of ['', 'x', `${'a'.repeat(31)}G`, 'a'.repeat(33), '../../../../../../../etc/passwd0']) {
    t.throws(() => containerId(wrong), { code: 'invalid' }, wrong)
  }
})

t.test('a task id may be any text of 1 to 255 bytes that is safe to show and to split on slashes', async (t) => {
  for (const good of ['web', 'Wörld.1', 'a b', '数', 'x'.repeat(255)]) t.equal(taskId(good), good)
  for (const wrong of ['', '.', '..', 'a/b', 'a\\b', 'a\u0000', 'a\nb', 'x'.repeat(256), '数'.repeat(86), '\ud800']) {
    t.throws(() => taskId(wrong), { code: 'invalid' }, JSON.stringify(wrong))
  }
})

t.test('a role is a star, or parts joined by slashes that need no quoting anywhere', async (t) => {
  for (const good of ['*', 'web', 'shop/web', 'a.b-c_D9', '...', '9', `${'x'.repeat(127)}/${'y'.repeat(127)}`])
    t.equal(role(good), good)
  for (const wrong of [
    '',
    '.',
    '..',
    'a/..',
    '-a',
    'a/-b',
    '/a',
    'a/',
    'a//b',
    '**',
    'a/*',
    'a b',
    'ä',
    'a\n',
    'x'.repeat(256)
  ]) {
    t.throws(() => role(wrong), { code: 'invalid' }, JSON.stringify(wrong))
  }
})

t.test('no text makes the parser fail in another way than with an invalid fault', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      try {
        return taskId(text) === text
      } catch (e) {
        return isFault(e, 'invalid')
      }
    })
  )
})
