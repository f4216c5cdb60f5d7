import t from 'tap'
import { arrange } from '../../isolators/arrange.ts'
import type { IsolatorPlace } from '../../isolators/isolator.ts'

const one = (name: string, place: IsolatorPlace = {}) => ({ name, place })
const order = (...isolators: readonly { readonly name: string; readonly place: IsolatorPlace }[]) =>
  arrange(isolators).map(({ name }) => name)

t.test('isolators stand as they are given, but for what they say of each other', async (t) => {
  t.same(order(one('a'), one('b'), one('c')), ['a', 'b', 'c'])
  t.same(order(one('a', { after: ['c'] }), one('b'), one('c')), ['b', 'c', 'a'])
  t.same(order(one('a'), one('b'), one('c', { before: ['a'] })), ['b', 'c', 'a'])
  t.same(order(one('a', { needs: ['b'] }), one('b')), ['b', 'a'])
  t.same(order(one('a', { after: ['absent'], before: ['absent'], conflicts: ['absent'] })), ['a'])
})

t.test('every mistake is told at once, with what to do', async (t) => {
  t.throws(() => order(one('a', { needs: ['x'] }), one('b', { conflicts: ['a'] }), one('b')), {
    code: 'invalid',
    message:
      'two isolators are called b: leave one of them out; isolator a needs x, which is not there: add it, or leave a out; ' +
      'isolator b cannot stand beside a: leave one of them out'
  })
  t.throws(() => order(one('../a')), /lower-case letter.*not "\.\.\/a"/)
  t.throws(() => order(one('a', { after: ['b'] }), one('b', { after: ['c'] }), one('c', { needs: ['a'] }), one('d')), {
    message: /^the isolators a, b, c each want to come after another of them/
  })
})
