export interface Column<T> {
  readonly title: string
  readonly value: (row: T) => string
  readonly align?: 'right'
  /** Is cut first, with an ellipsis, where the terminal is narrow, the last such column before the others. */
  readonly shrinks?: boolean
  readonly colour?: (text: string, row: T) => string
}

const gap = '  '
const leastWidth = 6

/** Lines of a table, at most `width` columns wide where a width is given. */
export function renderTable<T>(all: readonly Column<T>[], rows: readonly T[], width: number | undefined): string {
  // Where there is not even a letter for each column, the last ones are left out.
  const shown = width === undefined ? all : all.slice(0, Math.max(1, Math.floor((width + gap.length) / (1 + gap.length))))
  return renderColumns(shown, rows, width)
}

function renderColumns<T>(columns: readonly Column<T>[], rows: readonly T[], width: number | undefined): string {
  const cells = rows.map((row) => columns.map((c) => oneLine(c.value(row))))
  const natural = columns.map((c, i) => Math.max(c.title.length, ...cells.map((r) => textWidth(r[i] ?? ''))))
  const widths = width === undefined ? natural : fit(columns, natural, width)
  const head = columns.map((c, i) => pad(c.title, widths[i] ?? 0, c.align)).join(gap)
  const lines = rows.map((row, y) =>
    columns
      .map((c, x) => {
        const text = pad(cells[y]?.[x] ?? '', widths[x] ?? 0, c.align)
        return c.colour === undefined ? text : c.colour(text, row)
      })
      .join(gap)
  )
  return [head, ...lines].map((line) => `${line.trimEnd()}\n`).join('')
}

/** Title and value on a line each; absent values are left out. */
export function renderFacts(facts: readonly (readonly [string, string | undefined | null])[]): string {
  const there = facts.filter((f): f is readonly [string, string] => f[1] !== undefined && f[1] !== null && f[1] !== '')
  const width = Math.max(0, ...there.map(([name]) => name.length)) + 1
  return there.map(([name, value]) => `${`${name}:`.padEnd(width)} ${oneLine(value)}\n`).join('')
}

function fit<T>(columns: readonly Column<T>[], natural: readonly number[], width: number): readonly number[] {
  const widths = [...natural]
  let over = widths.reduce((sum, w) => sum + w, 0) + gap.length * (columns.length - 1) - width
  for (let i = columns.length - 1; i >= 0 && over > 0; i -= 1) {
    if (columns[i]?.shrinks !== true) continue
    const least = Math.max(leastWidth, columns[i]?.title.length ?? 0)
    const cut = Math.min(over, Math.max(0, (widths[i] ?? 0) - least))
    widths[i] = (widths[i] ?? 0) - cut
    over -= cut
  }
  return over > 0 ? cutWidest(widths, over) : widths
}

/** Takes what is still too much from the widest columns, whichever they are; each keeps a letter. */
function cutWidest(natural: readonly number[], tooMuch: number): readonly number[] {
  const widths = [...natural]
  for (let over = tooMuch; over > 0; ) {
    const widest = Math.max(...widths)
    const next = Math.max(1, ...widths.filter((w) => w < widest))
    if (widest <= 1) break
    const ties = widths.filter((w) => w === widest).length
    const step = Math.max(1, Math.min(widest - next, Math.floor(over / ties)))
    for (let i = widths.length - 1; i >= 0 && over > 0; i -= 1) {
      if (widths[i] !== widest) continue
      widths[i] = widest - step
      over -= step
    }
  }
  return widths
}

function pad(text: string, width: number, align: 'right' | undefined): string {
  const shown = cutTo(text, width)
  const fill = ' '.repeat(Math.max(0, width - textWidth(shown)))
  return align === 'right' ? fill + shown : shown + fill
}

function cutTo(text: string, width: number): string {
  if (textWidth(text) <= width) return text
  let shown = ''
  for (const letter of text) {
    if (textWidth(shown + letter) > width - 1) break
    shown += letter
  }
  return `${shown}…`
}

/** Control characters of foreign text must not reach the terminal. */
const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ')

/** East Asian wide letters and emoji take two columns, combining marks none. */
export function textWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length
  let width = 0
  for (const letter of text) width += letterWidth(letter)
  return width
}

const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u

const letterWidth = (letter: string): number => (/\p{M}/u.test(letter) ? 0 : wide.test(letter) ? 2 : 1)
