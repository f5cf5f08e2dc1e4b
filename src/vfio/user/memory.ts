/**
 * Files whose memory two processes share. A mapping of a file that is then truncated raises SIGBUS on access, and that
 * ends a Node.js process; a file sealed against shrinking cannot do that. Seals exist for memfds only.
 */
import { ftruncateSync } from 'node:fs';
import { NicError } from '../../errors.js';
import { closeFd } from '../../syscalls/descriptors.js';
import {
  addFileSeals,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  fileSeals,
  MAP_SHARED,
  type Mapping,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  memfdCreate,
  mmap,
  munmap,
  PROT_READ,
  PROT_WRITE,
} from '../../syscalls/memory.js';

/**
 * Makes sure that the file cannot shrink. False where it still can. Asks the kernel only, never the maker of the file,
 * who could let that wait: safe for descriptors of any kind.
 */
export function sealAgainstShrinking(fd: number): boolean {
  const seals = fileSeals(fd);
  if (seals < 0) return false;
  return (seals & F_SEAL_SHRINK) !== 0 || addFileSeals(fd, F_SEAL_SHRINK);
}

/** Memory of a served region, for `ServedRegion.fd`; zero at first. */
export interface SharedMemory {
  readonly fd: number;
  readonly buffer: ArrayBuffer;
  /** Unmaps it and closes the file. Drop all views first. */
  close(): void;
}

/**
 * Memory that clients may map: a memfd of a fixed size.
 * @param sizeBytes a multiple of 4096
 * @throws NicError `SYSCALL`, `NO_MEMORY`
 */
export function createSharedMemory(name: string, sizeBytes: number): SharedMemory {
  const fd = memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  let mapping: Mapping;
  try {
    ftruncateSync(fd, sizeBytes);
    if (!addFileSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
      throw new NicError('NO_MEMORY', `The memory "${name}" cannot be sealed`, { path: `memfd:${name}` });
    }
    mapping = mmap(fd, sizeBytes, 0, PROT_READ | PROT_WRITE, MAP_SHARED);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  let open = true;
  return {
    fd,
    buffer: mapping.buffer,
    close(): void {
      if (!open) return;
      open = false;
      munmap(mapping);
      closeFd(fd);
    },
  };
}
