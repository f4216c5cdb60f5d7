const codes = { red: 31, green: 32, yellow: 33, grey: 90, bold: 1 } as const

export type Paint = (colour: keyof typeof codes, text: string) => string

export const paintWith =
  (enabled: boolean): Paint =>
  (colour, text) =>
    enabled ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text
