/** bpf(2): programs, maps and links of the kernel's virtual machine. The structures belong to the callers. */
import { libc, resultOrErrno } from './libc.js';

const syscall = libc.func('syscall', 'long', ['long', 'long', 'void *', 'long']);

/** Number of the system call, x86-64: the C library has no function for it. */
const SYS_BPF = 321;

/**
 * bpf(2). Returns its result, a descriptor mostly, or the negative errno.
 * @param attributes `union bpf_attr`, as much of it as the command needs
 */
export function bpf(command: number, attributes: Uint8Array): number {
  return resultOrErrno(Number(syscall(SYS_BPF, command, attributes, attributes.length)));
}
