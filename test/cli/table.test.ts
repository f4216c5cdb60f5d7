import fc from 'fast-check'
import t from 'tap'
import { type Column, renderFacts, renderTable, textWidth } from '../../cli/output/table.ts'

interface Row {
  readonly id: string
  readonly words: string
}
const columns: readonly Column<Row>[] = [
  { title: 'ID', value: (row) => row.id },
  { title: 'SIZE', value: (row) => String(row.words.length), align: 'right' },
  { title: 'WORDS', value: (row) => row.words, shrinks: true }
]

t.test('columns are as wide as their widest cell', async (t) => {
  const table = renderTable(
    columns,
    [
      { id: 'a', words: 'hello world' },
      { id: 'bcd', words: '' }
    ],
    undefined
  )
  t.equal(table, 'ID   SIZE  WORDS\na      11  hello world\nbcd     0\n')
})

t.test('a narrow terminal cuts what may be cut, with an ellipsis', async (t) => {
  t.equal(
    renderTable(columns, [{ id: 'abcdef', words: 'hello world' }], 21),
    'ID      SIZE  WORDS\nabcdef    11  hello w…\n'.replace('hello w…', 'hello …')
  )
})

t.test('no row is wider than the terminal, whatever is in it', async (t) => {
  const rows = fc.array(fc.record({ id: fc.string({ maxLength: 8 }), words: fc.string({ unit: 'grapheme', maxLength: 60 }) }))
  const fits = fc.property(rows, fc.integer({ min: 30, max: 120 }), (rows, width) => {
    const lines = renderTable(columns, rows, width).split('\n')
    return lines.length === rows.length + 2 && lines.every((line) => textWidth(line) <= width)
  })
  t.doesNotThrow(() => fc.assert(fits))
})

t.test('what a container says cannot steer the terminal', async (t) => {
  const table = renderTable(columns, [{ id: 'a', words: '\u001b[2Jx\ny\r\u009bz' }], undefined)
  t.notMatch(table.replaceAll('\n', ''), /\p{Cc}/u)
  t.equal(table.split('\n').length, 3)
})

t.test('wide letters count twice', async (t) => {
  t.equal(textWidth('日本'), 4)
  t.equal(textWidth('é'), 1)
  t.equal(textWidth('e\u0301'), 1)
})

t.test('facts without a value are left out', async (t) => {
  t.equal(
    renderFacts([
      ['A', 'x'],
      ['Long', undefined],
      ['B', ''],
      ['Cc', 'y']
    ]),
    'A:  x\nCc: y\n'
  )
})

t.test('however narrow the terminal and whatever the columns, no line is wider', async (t) => {
  const column = fc.record({
    title: fc.constantFrom('TASK', 'A', 'MODIFIED', ''),
    shrinks: fc.boolean(),
    right: fc.boolean()
  })
  const cell = fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: 'grapheme', maxLength: 20 }), fc.constant('日本語'))
  const table = fc.array(column, { minLength: 1, maxLength: 8 }).chain((shapes) =>
    fc.record({
      shapes: fc.constant(shapes),
      rows: fc.array(fc.array(cell, { minLength: shapes.length, maxLength: shapes.length }), { maxLength: 6 }),
      width: fc.integer({ min: 1, max: 120 })
    })
  )
  const fits = fc.property(table, ({ shapes, rows, width }) => {
    const columns = shapes.map((shape, i): Column<readonly string[]> => {
      const { title, shrinks, right } = shape
      return { title, shrinks, value: (row) => row[i] ?? '', ...(right ? { align: 'right' } : {}) }
    })
    const lines = renderTable(columns, rows, width).split('\n')
    return lines.length === rows.length + 2 && lines.every((line) => textWidth(line) <= width)
  })
  t.doesNotThrow(() => fc.assert(fits, { numRuns: 1_000 }))
})

t.test('columns that do not like to be cut are cut last, and the widest first', async (t) => {
  const fixed: readonly Column<Row>[] = [
    { title: 'ID', value: (row) => row.id },
    { title: 'WORDS', value: (row) => row.words }
  ]
  t.equal(renderTable(fixed, [{ id: 'abc', words: 'a long tale' }], 12), 'ID   WORDS\nabc  a long…\n')
})

t.test('a cut cell keeps its colour and the colour its end', async (t) => {
  const painted: readonly Column<Row>[] = [{ title: 'W', value: (row) => row.words, colour: (text) => `<${text}>` }]
  t.equal(renderTable(painted, [{ id: '', words: 'abcdefgh' }], 5), 'W\n<abcd…>\n')
})
