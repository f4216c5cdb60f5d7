/** RFC 7468. */
export const pem = (label: string, bytes: ArrayBuffer | Uint8Array): string => {
  const lines =
    Buffer.from(bytes as Uint8Array)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
