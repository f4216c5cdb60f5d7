import { Fault } from '../base/fault.ts'
import type { ArtifactRequest } from '../sdk/operator-messages.ts'

const option = /,(?:sha256=([^,]*)|to=([^,]*)|(unpack|executable))$/

/** `URL[,sha256=HEX][,unpack][,executable][,to=PATH]`; commas before the options belong to the URL. Throws `Fault('invalid')`. */
export function parseArtifact(text: string): ArtifactRequest {
  let url = text
  let found: Omit<ArtifactRequest, 'url'> = {}
  for (let match = option.exec(url); match !== null; match = option.exec(url)) {
    const [all, sha256, target, flag] = match
    const one =
      sha256 !== undefined
        ? { sha256: sha256.replace(/^sha256:/, '').toLowerCase() }
        : target !== undefined
          ? { target }
          : { [flag ?? '']: true }
    found = { ...found, ...one }
    url = url.slice(0, -all.length)
  }
  if (URL.canParse(url)) return { url, ...found }
  throw new Fault(
    'invalid',
    `--artifact is URL[,sha256=HEX][,unpack][,executable][,to=PATH], such as https://example.org/site.tar.gz,unpack,to=site, not ${JSON.stringify(text)}`
  )
}
