/** The steps of the life cycles; each must have a point that its scenario hits. */
export const steps: readonly { readonly step: string; readonly scenario: string; readonly point: RegExp }[] = [
  { step: 'the first connection to the master', scenario: 'start', point: /^agent\/link\.ts:dial:/ },
  { step: 'the lock on the directory', scenario: 'start', point: /^agent\/ledger\/owner\.ts:lock:spawn/ },
  { step: 'the ledger is read', scenario: 'start', point: /^agent\/ledger\/files\.ts:diskFiles\.read:/ },
  { step: 'the local socket is opened', scenario: 'start', point: /^agent\/local-api\/server\.ts:listen:listen/ },
  { step: 'the intent is written', scenario: 'exit-zero', point: /^agent\/ledger\/files\.ts:diskFiles\.open\.write:/ },
  { step: 'the intent is synced', scenario: 'exit-zero', point: /^agent\/ledger\/files\.ts:diskFiles\.open\.datasync:/ },
  { step: 'the launch is answered', scenario: 'exit-zero', point: /^agent\/link\.ts:connectMaster\.send:/ },
  { step: 'the image is resolved', scenario: 'exit-zero', point: /^agent\/images\// },
  { step: 'the sandbox is made', scenario: 'exit-zero', point: /^agent\/.*:mkdir$/ },
  { step: 'the writable layer is made', scenario: 'exit-zero', point: /^isolators\/filesystem\.ts:.*:mkdir/ },
  { step: 'the bundle is written', scenario: 'exit-zero', point: /^isolators\/runtime\/oci\/.*:writeFile/ },
  {
    step: 'the monitor is started, and with it the mounts',
    scenario: 'exit-zero',
    point: /^isolators\/runtime\/oci\/conmon\.ts:startConmon:spawn/
  },
  { step: 'the exit is read', scenario: 'exit-zero', point: /^isolators\/runtime\/oci\/.*exit.*:/i },
  { step: 'the cgroup is emptied', scenario: 'exit-zero', point: /^isolators\/cgroup2\/tree\.ts:killCgroup:/ },
  { step: 'the cgroup is removed', scenario: 'exit-zero', point: /^isolators\/cgroup2\/tree\.ts:isRemoved:/ },
  { step: 'the bundle is removed', scenario: 'exit-zero', point: /^isolators\/runtime\/oci\/.*:rmSync/ },
  { step: 'the exit file is dropped', scenario: 'exit-zero', point: /dropExit:/ },
  { step: 'the process is signalled', scenario: 'kill-grace', point: /^isolators\/runtime\/oci\/.*:kill/ },
  { step: 'the end after the grace', scenario: 'kill-stubborn', point: /^isolators\/cgroup2\/tree\.ts:killCgroup:/ },
  { step: 'the kernel’s kills are counted', scenario: 'oom', point: /^isolators\/cgroup2\/usage\.ts:killsIn:/ },
  { step: 'the program of exec is started', scenario: 'exec', point: /^agent\/host\/plain-exec\.ts:.*:spawn/ },
  { step: 'the terminal is started', scenario: 'terminal', point: /^agent\/host\/terminal\.ts:.*:spawn/ },
  { step: 'a log file is renamed', scenario: 'rotate', point: /^agent\/logs\/rotated-files\.ts:.*:renameSync/ },
  { step: 'the next log file is asked for', scenario: 'rotate', point: /^agent\/logs\/rotated-files\.ts:.*:writeSync/ },
  {
    step: 'the child that unpacks is started',
    scenario: 'import',
    point: /^agent\/images\/unpack-child\.ts:runUnpackChild:spawn/
  },
  { step: 'a layer’s file is written', scenario: 'import', point: /^agent\/images\/layer-writer\.ts:.*:writeSync/ },
  { step: 'a layer is given to other ids', scenario: 'user-namespace', point: /^agent\/images\/shift-layer\.ts:.*:lchownSync/ },
  { step: 'a view is published', scenario: 'user-namespace', point: /^agent\/images\/shifted-views\.ts:.*:rename/ },
  { step: 'the namespaces of a pod are found', scenario: 'pod', point: /^agent\/pods\/shared\.ts:.*:readlinkSync/ },
  { step: 'the image is published', scenario: 'import', point: /^agent\/images\/content-files\.ts:.*:rename/ },
  { step: 'the log is put aside', scenario: 'forget', point: /^agent\/logs\/kept-logs\.ts:.*:rename/ },
  { step: 'a container is seen again', scenario: 'exit-nonzero', point: /^isolators\/runtime\/oci\/process-table\.ts:/ }
]
