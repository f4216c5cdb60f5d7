import { writeFileSync } from 'node:fs'

/** Machine code (x86-64) of programs that do one wrong thing. */
const wrongs = {
  read: '31c08b00', // xor eax,eax; mov eax,[rax]
  write: '31c0c70001000000', // mov dword [rax],1
  jump: '31c0ffe0', // jmp rax
  privileged: 'f4', // hlt
  illegal: '0f0b', // ud2
  division: '31d231c9b801000000f7f1', // div ecx, with ecx 0
  breakpoint: 'cc', // int3
  abort: 'b8270000000f0589c7be06000000b83e0000000f05' // kill(getpid(), SIGABRT)
} as const

export type Wrong = keyof typeof wrongs

/** The smallest executable (elf(5)): one header, one segment, the code right behind them. */
export function writeCrasher(path: string, wrong: Wrong): void {
  const code = Buffer.from(wrongs[wrong], 'hex')
  const base = 0x400000n
  const start = 64 + 56
  const file = Buffer.alloc(start + code.length)
  file.write('\x7fELF\x02\x01\x01', 'latin1')
  file.writeUInt16LE(2, 16) // ET_EXEC
  file.writeUInt16LE(62, 18) // EM_X86_64
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(base + BigInt(start), 24)
  file.writeBigUInt64LE(64n, 32) // program headers
  file.writeUInt16LE(64, 52)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(1, 56)
  file.writeUInt32LE(1, 64) // PT_LOAD
  file.writeUInt32LE(5, 68) // readable, executable
  file.writeBigUInt64LE(base, 80)
  file.writeBigUInt64LE(base, 88)
  file.writeBigUInt64LE(BigInt(file.length), 96)
  file.writeBigUInt64LE(BigInt(file.length), 104)
  file.writeBigUInt64LE(0x1000n, 112)
  code.copy(file, start)
  writeFileSync(path, file, { mode: 0o755 })
}
