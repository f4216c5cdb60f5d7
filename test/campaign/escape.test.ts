import t from 'tap'
import { attempts } from './escape/all.ts'

t.test('the escape suite has at least 40 attempts at 12 walls, each with a name of its own', async (t) => {
  const names = attempts.map(({ wall, name }) => `${wall}: ${name}`)
  t.equal(new Set(names).size, names.length)
  t.ok(names.length >= 40)
  t.ok(new Set(attempts.map(({ wall }) => wall)).size >= 12)
})
