/** By their numbers (linux/capability.h). */
const names = `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT
  SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
  WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`

/** By their numbers, as CAP_CHOWN. */
export const linuxCapabilities: readonly string[] = names.split(/\s+/).map((name) => `CAP_${name}`)

/** All of them at once, where a set is written. */
export const everyCapability = 'ALL'

/** `CAP_NET_RAW` for `net_raw`, `NET_RAW` and `CAP_NET_RAW`; `ALL` for `all`; undefined for what is no Linux capability. */
export function capabilityName(text: string): string | undefined {
  const upper = text.toUpperCase()
  if (upper === everyCapability) return everyCapability
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`
  return linuxCapabilities.includes(name) ? name : undefined
}

/** Out of a mask as /proc/PID/status shows it: 16 hexadecimal digits. */
export const capabilitiesOfMask = (hexadecimal: string): readonly string[] => {
  const mask = BigInt(`0x${hexadecimal}`)
  return linuxCapabilities.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 1n)
}
