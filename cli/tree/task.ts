import { type Command, Option } from 'commander'
import type { PodOptions } from '../commands/pod-run.ts'
import type { Context } from '../context.ts'
import { collect, group, jsonOption, leaf, type Shell } from './shell.ts'

export function addTaskCommands(program: Command, shell: Shell): void {
  const task = group(program, 'task', 'programs in containers')
  addRun(task, shell)
  addReaders(task, shell)
  addMovers(task, shell)
  addFiles(task, shell)
}

function addRun(task: Command, shell: Shell): void {
  const run = leaf(task, 'run', 'run a program in a new container')
    .usage('[options] IMAGE [--] [COMMAND...]')
    .argument('[image]', 'an image of a registry or an imported one, or host for the programs of the host itself')
    .argument('[command...]', 'what to run instead of the image’s own command')
    .passThroughOptions()
  run
    .option('-i, --interactive', 'keep standard input open')
    .option('-t, --tty', 'give the program a terminal')
    .option('--rm', 'remove the task, its log and its files when it has ended')
    .option('-d, --detach', 'print the task’s id and return at once')
    .option('-e, --env <name=value>', 'set an environment variable; without a value, the one of this shell', collect)
    .option('--env-file <file>', 'read environment variables from a file', collect)
    .option('-w, --workdir <folder>', 'the program’s working directory')
    .option('-u, --user <user>', 'name or uid, with :group where wanted')
    .option('-v, --volume <src:dst[:ro]>', 'mount a folder of the host, where the operator allows it', collect)
    .option('-l, --label <name=value>', 'label the task', collect)
    .option('-m, --memory <size>', 'memory limit, such as 64m')
    .option('--cpus <number>', 'CPU limit, such as 0.5')
    .option('--disk <size>', 'how much the task may write, such as 1g')
    .option('--name <name>', 'a name that no other living task has')
    .addOption(new Option('--network <mode>', 'whose network it sees').choices(['host', 'none']))
    .addOption(new Option('--runtime <name>', 'what starts the container').choices(['oci', 'runc', 'crun', 'docker']))
    .addOption(
      new Option('--pull <when>', 'whether the image is pulled; default missing').choices(['missing', 'always', 'never'])
    )
    .option('--role <role>', 'whose share of the cluster it uses, such as shop/web; default *')
    .option('--stop-signal <signal>', 'the signal that asks the program to end')
    .option('--stop-timeout <time>', 'how long it may take before it is killed, such as 10s')
    .option('--log-size <size>', 'how large a file of its log becomes before the next one begins; default 10m')
    .option('--log-files <number>', 'how many files of its log are kept, the newest included; default 5')
    .option('--log-age <time>', 'after which a file of its log is put away even where it is small, such as 1d')
    .option('--restart <policy>', 'never, on-failure[:restarts] or always: the node starts it again by itself')
    .option('--restart-delay <time>', 'before the first restart, doubled each time; default 1s')
    .option('--lease <time>', 'run only while a master renews it, such as 20s: two never run at once, whatever is cut off')
    .option('--health-cmd <command>', 'a shell command in the container that says whether the task lives')
    .option('--health-http <port/path>', 'an address on the host that says so, such as 8080/health')
    .option('--health-tcp <port>', 'a port that says so by taking connections')
    .option('--ready-cmd <command>', 'the same for whether the task is ready to be used')
    .option('--ready-http <port/path>', 'an address that says so')
    .option('--ready-tcp <port>', 'a port that says so')
    .option('--start-cmd <command>', 'a check that must succeed once before the others begin, for what is slow to start')
    .option('--start-http <port/path>', 'an address that says that it has started')
    .option('--start-tcp <port>', 'a port that says so')
    .option('--start-retries <number>', 'failures of it in a row that end the task; default 3')
    .option('--health-interval <time>', 'between two checks; default 10s')
    .option('--health-timeout <time>', 'for one check; default 5s')
    .option('--health-retries <number>', 'failures in a row of --health-… and --ready-… that count; default 3')
    .option('--health-start-period <time>', 'in which failures do not count; default 0s')
    .option(
      '--artifact <url>',
      'a file for its sandbox: https://…, http://… or file:/…[,sha256=HEX][,unpack][,executable][,to=PATH]',
      collect
    )
    .option('-p, --publish <port>', 'not yet: addresses per container come in a later version', collect)
    .option('--pod <file>', 'run the containers of a pod instead, as a YAML or JSON file describes it')
  addLimits(run)
  addWalls(run)
  run.action((image: string | undefined, command: string[], options) => shell.run((c) => runOf(c, image, command, options)))
}

async function runOf(context: Context, image: string | undefined, command: string[], options: PodOptions): Promise<number> {
  const { pod } = options
  if (pod !== undefined) return (await import('../commands/pod-run.ts')).runPod(context, image, { ...options, pod })
  return (await import('../commands/task-run.ts')).runTask(context, image, command, options)
}

/** The same words for `task run` and `task update`. */
function addLimits(command: Command): void {
  command
    .option('--cpu-weight <number>', '1 to 10000, default 100: its share where processors are short')
    .option('--cpu-burst <time>', 'what it may save of its CPU limit and use above it, such as 50ms')
    .option('--cpu-idle', 'only processor time that nobody else wants')
    .option('--exclusive-cores <number>', 'processors of its own')
    .option('--memory-min <size>', 'memory that is never taken from it')
    .option('--memory-low <size>', 'memory that is taken only where nothing else is left')
    .option('--memory-high <size>', 'above it the task is slowed down and its memory taken')
    .option('--swap <size>', 'swap beside the memory limit; default none')
    .addOption(new Option('--oom <policy>', 'what ends where memory does: one process or the task').choices(['process', 'task']))
    .option('--pids <number>', 'processes and threads; default 4096')
    .option('--io-weight <number>', '1 to 10000, default 100: its share where disks are busy')
    .option('--io <path:rates>', 'of the disk below a path: /data:read=10m,write=5m,reads=100,writes=100,latency=10ms', collect)
    .option('--huge-pages <size:limit>', 'huge pages of a size, such as 2m:64m', collect)
    .option('--zswap <size>', 'of its swap, so much may lie compressed in memory; none for none')
    .option('--numa <nodes>', 'processors and memory of these NUMA nodes alone, such as 0 or 0,2-3')
    .option('--memory-nodes <nodes>', 'memory of these NUMA nodes alone')
    .option('--rdma <device:limits>', 'of an RDMA device: mlx4_0:handles=2,objects=2000', collect)
    .option('--misc <name=max>', 'of a resource that the misc controller counts, such as sev=10', collect)
}

/** cli/wall-options.ts reads them. */
function addWalls(run: Command): void {
  run
    .option('--cap-add <name>', 'a Linux capability more, where the tenant may have it, such as NET_RAW', collect)
    .option('--cap-drop <name>', 'a Linux capability less; ALL for all', collect)
    .option('--new-privileges', 'let set-user-id programs and file capabilities count')
    .option('--user-namespace', 'give it ids of its role alone: its root is nobody on the node')
    .option('--seccomp <profile>', 'a seccomp profile of the node by name; default, or unconfined where the tenant may')
    .option('--apparmor <profile>', 'an AppArmor profile that the node has loaded')
    .option('--read-only', 'let the task write nowhere but to its sandbox, mounts, /tmp (with --tmp) and /dev/shm')
    .option('--hide <path>', 'a file or folder of the image that the task is not to see', collect)
    .option('--read-only-path <path>', 'a file or folder that it is only to read', collect)
    .option('--ulimit <name=soft[:hard]>', 'a limit of each process, such as nofile=4096:8192', collect)
    .option('--device <device>', 'PATH[:TARGET[:rwm]] of a node, or NAME[:NUMBER] of those it lends out, such as gpu:2', collect)
    .option('--tmp <size>', 'a /tmp of its own in memory, such as 64m')
    .option('--shm-size <size>', 'how large /dev/shm is; default 64m')
    .option('--sysctl <name=value>', 'a kernel setting of its own namespaces, such as net.core.somaxconn=1024', collect)
}

function addReaders(task: Command, shell: Shell): void {
  const commands = () => import('../commands/task-read.ts')
  const list = leaf(task, 'list', 'list tasks').alias('ls').addOption(jsonOption())
  list.option('-a, --all', 'ended tasks too').option('-q, --quiet', 'ids only').option('--role <role>', 'only those of one role')
  list.action((options) => shell.run(async (c) => (await commands()).listTasks(c, options)))

  const show = leaf(task, 'show', 'show one task').addOption(jsonOption()).argument('<task>', 'id, start of an id, or name')
  show.action((id: string, options) => shell.run(async (c) => (await commands()).showTask(c, id, options)))

  const explain = leaf(task, 'explain', 'tell why a task ended').addOption(jsonOption())
  explain.argument('<task>', 'id, start of an id, or name')
  explain.action((id: string, options) =>
    shell.run(async (c) => (await import('../commands/task-explain.ts')).explainTask(c, id, options))
  )

  const stats = leaf(task, 'stats', 'show what tasks use and what they wait for').addOption(jsonOption())
  stats.argument('<task...>', 'ids or names')
  stats.action((ids: string[], options) =>
    shell.run(async (c) => (await import('../commands/task-stats.ts')).taskStats(c, ids, options))
  )

  const top = leaf(task, 'top', 'show what all tasks use and wait for, the busiest first').addOption(jsonOption())
  top.option('--every <time>', 'between two looks; default 2s').option('--once', 'look once, also on a terminal')
  top.action((options) => shell.run(async (c) => (await import('../commands/task-stats.ts')).taskTop(c, options)))

  const logs = leaf(task, 'logs', 'print what a task wrote, for a while also of a removed one').argument(
    '<task>',
    'id, start of an id, or name'
  )
  logs
    .option('-f, --follow', 'go on until the task has ended')
    .option('-n, --tail <lines>', 'only the last lines')
    .option('--attempt <number>', 'of an earlier attempt; default the newest')
    .option('--since <time>', 'only what is not older: 10m, or 2026-11-22T05:00:00Z')
    .option('--until <time>', 'only what is not newer')
    .addOption(new Option('--stream <name>', 'one of its two outputs').choices(['stdout', 'stderr']))
    .addOption(jsonOption())
  logs.action((id: string, options) =>
    shell.run(async (c) => (await import('../commands/task-logs.ts')).printLogs(c, id, options))
  )
}

function addMovers(task: Command, shell: Shell): void {
  const commands = () => import('../commands/task-move.ts')
  const exec = leaf(task, 'exec', 'run a program in a running container')
    .usage('[options] TASK [--] COMMAND...')
    .argument('<task>', 'id, start of an id, or name')
    .argument('<command...>', 'what to run')
    .passThroughOptions()
  exec
    .option('-i, --interactive', 'keep standard input open')
    .option('-t, --tty', 'give the program a terminal')
    .option('-e, --env <name=value>', 'set an environment variable', collect)
    .option('-w, --workdir <folder>', 'the program’s working directory')
    .option('-u, --user <user[:group]>', 'the user: name or number, with a group after a colon')
  exec.action((id: string, command: string[], options) =>
    shell.run(async (c) => (await import('../commands/task-exec.ts')).execInTask(c, id, command, options))
  )

  const attach = leaf(task, 'attach', 'connect to the input and output of a running task').argument('<task>', 'id or name')
  attach.option('--no-stdin', 'output only')
  attach.action((id: string, options) =>
    shell.run(async (c) => (await import('../commands/task-exec.ts')).attachToTask(c, id, options))
  )

  const kill = leaf(task, 'kill', 'end tasks').argument('<task...>', 'ids or names')
  kill
    .option('-s, --signal <signal>', 'the signal that asks the program to end')
    .option('--grace <time>', 'how long it may take before it is killed, such as 10s')
    .option('--no-wait', 'return before the tasks have ended')
  kill.action((ids: string[], options) => shell.run(async (c) => (await commands()).killTasks(c, ids, options)))

  const update = leaf(task, 'update', 'change the limits of a task, also while it runs').addOption(jsonOption())
  update
    .argument('<task>', 'id, start of an id, or name')
    .option('-m, --memory <size>', 'memory limit, such as 64m')
    .option('--cpus <number>', 'CPU limit, such as 0.5')
    .option('-f, --force', 'also below what it uses now: the kernel then takes memory from it, or ends it')
  addLimits(update)
  update.action((id: string, options) =>
    shell.run(async (c) => (await import('../commands/task-update.ts')).updateTask(c, id, options))
  )

  const rm = leaf(task, 'rm', 'remove ended tasks with their files; their logs can be read for a while').argument(
    '<task...>',
    'ids or names'
  )
  rm.option('-f, --force', 'end running ones first')
  rm.action((ids: string[], options) => shell.run(async (c) => (await commands()).removeTasks(c, ids, options)))

  const wait = leaf(task, 'wait', 'wait until tasks have ended and print their exit codes').argument('<task...>', 'ids or names')
  wait.action((ids: string[], options) => shell.run(async (c) => (await commands()).waitForTasks(c, ids, options)))
}

function addFiles(task: Command, shell: Shell): void {
  const commands = () => import('../commands/task-files.ts')
  const files = leaf(task, 'files', 'list the files of a task, running or ended').addOption(jsonOption())
  files.argument('<task>', 'id, start of an id, or name').argument('[path]', 'a folder in its sandbox', '/')
  files.action((id: string, path: string, options) => shell.run(async (c) => (await commands()).listFiles(c, id, path, options)))

  const cp = leaf(task, 'cp', 'copy between a task’s files and this host').usage('[options] TASK:PATH LOCAL | LOCAL TASK:PATH')
  cp.argument('<from>', 'where from').argument('<to>', 'where to; - is standard output or input as a tar')
  cp.action((from: string, to: string, options) => shell.run(async (c) => (await commands()).copyFiles(c, from, to, options)))
}
