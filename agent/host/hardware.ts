export interface Hardware {
  readonly vendor: string
  readonly model: string
  readonly cpu: string
  readonly cores: number
  readonly virtual: boolean
}

let read: Promise<Hardware> | undefined

/** What kind of machine this is, for people. Read when first asked for: systeminformation runs programs and takes memory. */
export function readHardware(): Promise<Hardware> {
  read ??= ask()
  return read
}

async function ask(): Promise<Hardware> {
  const { cpu, system } = await import('systeminformation')
  const [processor, machine] = await Promise.all([cpu(), system()])
  return {
    vendor: machine.manufacturer,
    model: machine.model,
    cpu: `${processor.manufacturer} ${processor.brand}`.trim(),
    cores: processor.cores,
    virtual: machine.virtual
  }
}
