import t from 'tap'
import { runtimeContract } from '../contract/runtime.ts'
import { testDocker } from '../support/dockerd.ts'

const docker = await testDocker()
t.teardown(() => docker.stop())

t.test('Docker keeps to the contract of a runtime', async (t) => {
  runtimeContract(t, docker.maker)
})
