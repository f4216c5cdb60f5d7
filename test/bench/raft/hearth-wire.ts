/** The bench's own way to a master: the frames of the agent link; a request is u32 number | body, answers carry the number. */
export const frameTypes = { put: 1, read: 2, done: 3, refused: 4 } as const

export const framework = 'bench'
