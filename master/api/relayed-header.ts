/** A relayed request is not relayed again: two masters that take each other for the leader would send it to and fro. */
export const relayedHeader = 'x-hearth-relayed'
