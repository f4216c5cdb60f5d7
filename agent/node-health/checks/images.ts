import { type Check, rowsOf } from '../verdict.ts'
import { countOf, tame } from './words.ts'

export interface ImageStoreFacts {
  /** An unreadable images.json that the agent has put aside. */
  readonly damagedList: string | undefined
  readonly images: number
  /** Documents and layers that were looked at, and how many there are. */
  readonly looked: number
  readonly parts: number
  /** One sentence each. */
  readonly faults: readonly string[]
}

export function judgeImages(facts: ImageStoreFacts): Check {
  const row = rowsOf('images')
  const { images, looked, parts, faults, damagedList } = facts
  if (damagedList !== undefined) {
    return row.failure(
      `the list of images was unreadable and lies in ${damagedList}`,
      `import the images again, then remove ${damagedList}`
    )
  }
  const [first] = faults
  if (first !== undefined) {
    const more = faults.length > 1 ? ` (and ${countOf(faults.length - 1, 'more')})`.replace('mores', 'more') : ''
    return row.warning(`${tame(first, 160)}${more}`, 'remove the image and import it again; running tasks keep what they have')
  }
  const depth = looked < parts ? `, ${looked} of their ${parts} files and layers looked at` : ''
  return row.ok(images === 0 ? 'no image is imported' : `${countOf(images, 'image')}, all there${depth}`)
}
