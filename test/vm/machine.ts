import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { until } from '../support/until.ts'

export interface Image {
  readonly kernel: string
  readonly initialDisk: string
  readonly rootDisk: string
}

export interface Output {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** How much slower than the machine around it the virtual one is taken to be: every time-out is multiplied by it. */
export const timeFactor = Number(process.env['HEARTH_TIME_FACTOR'] ?? 10)
const commandSeconds = 20
const bootSeconds = 40

/** An emulated computer with Debian, whose disk forgets everything when it goes. Commands run in it as root, one at a time. */
export class Machine {
  readonly #qemu: ChildProcess
  readonly #commands: Socket
  readonly #folder: string
  readonly #waiting = new Map<string, (output: Output) => void>()
  #boots = 0
  #number = 0

  private constructor(qemu: ChildProcess, commands: Socket, folder: string) {
    this.#qemu = qemu
    this.#commands = commands
    this.#folder = folder
    // The machine has ended: whoever waits for it looks at that.
    commands.on('error', () => undefined)
    const lines = createInterface({ input: commands }).on('line', (line) => this.#read(line))
    lines.on('error', () => undefined)
  }

  /** Starts it with `payload`, a disk that it sees at /dev/vdb, and waits until it takes commands. */
  static async boot(image: Image, payload: string): Promise<Machine> {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-vm-'))
    // A test that dies before its teardown must not leave a computer running.
    const arguments_ = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...qemuArguments(image, payload, folder)]
    const qemu = spawn('setpriv', arguments_, { stdio: ['ignore', 'ignore', 'inherit'] })
    const machine = new Machine(qemu, await dial(qemu, join(folder, 'commands')), folder)
    await machine.booted(1)
    return machine
  }

  /** Resolves once the machine has booted that often. */
  async booted(times: number): Promise<void> {
    const tooLate = AbortSignal.timeout(bootSeconds * timeFactor * 1000)
    await until(() => this.#boots >= times || this.#qemu.exitCode !== null || tooLate.aborted)
    if (this.#boots < times) throw new Error(`the virtual machine does not come up: ${this.console()}`)
  }

  get boots(): number {
    return this.#boots
  }

  /** Runs a script of bash in it. `seconds` are those of a fast machine. */
  run(script: string, seconds = commandSeconds): Promise<Output> {
    this.#number += 1
    const id = String(this.#number)
    const line = `${id} ${Math.ceil(seconds * timeFactor)} ${Buffer.from(script).toString('base64')}\n`
    return new Promise((resolve, reject) => {
      // A machine that goes down takes the answer with it.
      const silent = (): void => reject(new Error(`no answer to ${script}\n${this.console()}`))
      const patience = setTimeout(silent, (seconds + commandSeconds) * timeFactor * 1000)
      this.#waiting.set(id, (output) => {
        clearTimeout(patience)
        resolve(output)
      })
      this.#commands.write(line)
    })
  }

  /** The same, for a script that has to end with 0; gives back what it printed. */
  async tell(script: string, seconds = commandSeconds): Promise<string> {
    const { code, stdout, stderr } = await this.run(script, seconds)
    if (code !== 0) throw new Error(`${script}\nended with ${code}: ${stderr}${stdout}`)
    return stdout.trim()
  }

  /** The last of what kernel and systemd said on the serial line. */
  console(): string {
    return readFileSync(join(this.#folder, 'console'), 'utf8').slice(-4_000)
  }

  async stop(): Promise<void> {
    this.#commands.destroy()
    const ended = new Promise((resolve) => this.#qemu.once('exit', resolve))
    if (this.#qemu.exitCode === null && this.#qemu.kill('SIGKILL')) await ended
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #read(line: string): void {
    const [id = '', status = '', stdout = '', stderr = ''] = line.split(' ')
    if (id === 'booted') this.#boots += 1
    const text = (coded: string): string => Buffer.from(coded, 'base64').toString()
    this.#waiting.get(id)?.({ code: Number(status), stdout: text(stdout), stderr: text(stderr) })
    this.#waiting.delete(id)
  }
}

/** The socket is there a moment before anybody listens on it. */
async function dial(qemu: ChildProcess, path: string): Promise<Socket> {
  for (;;) {
    await until(() => existsSync(path) || qemu.exitCode !== null)
    if (qemu.exitCode !== null) throw new Error('the virtual machine does not start: QEMU said why')
    const socket = connect(path)
    try {
      await once(socket, 'connect')
      return socket
    } catch {
      socket.destroy()
    }
  }
}

/** What the kernel may leave out is time won: each instruction is emulated, so that the tests do not depend on KVM. */
const kernelArguments =
  'console=ttyS0 quiet mitigations=off nokaslr no_timer_check random.trust_cpu=on audit=0 systemd.show_status=no panic=-1'

/** Without what costs an emulator most: string instructions byte by byte, and doors that are opened and shut at each copy. */
const processor = 'max,la57=off,erms=off,smap=off,smep=off,pku=off,mpx=off'

function qemuArguments({ kernel, initialDisk, rootDisk }: Image, payload: string, folder: string): readonly string[] {
  const disk = (id: string, file: string, more: string): readonly string[] => [
    ...['-drive', `file=${file},if=none,id=${id},format=raw,${more}`, '-device', `virtio-blk-pci,drive=${id}`]
  ]
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'pc,usb=off', '-rtc', 'clock=host'],
    ...['-accel', 'tcg,thread=multi,tb-size=512', '-cpu', processor, '-smp', '2', '-m', '3072'],
    ...['-object', 'memory-backend-ram,id=near,size=1536M', '-numa', 'node,nodeid=0,cpus=0,memdev=near'],
    ...['-object', 'memory-backend-ram,id=far,size=1536M', '-numa', 'node,nodeid=1,cpus=1,memdev=far'],
    ...['-kernel', kernel, '-initrd', initialDisk, '-append', kernelArguments],
    ...disk('root', rootDisk, 'snapshot=on,cache=unsafe'),
    ...disk('payload', payload, 'readonly=on'),
    ...['-device', 'virtio-rng-pci', '-serial', `file:${join(folder, 'console')}`, '-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=commands,path=${join(folder, 'commands')},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=commands,name=hearth.commands']
  ]
}
