// Holds the lock of a directory until it is killed.
import { lockDirectory } from '../../../master/store/lock.ts'

await lockDirectory(process.argv[2] ?? '')
process.stdout.write('held\n')
process.stdin.resume()
setInterval(() => undefined, 60_000)
