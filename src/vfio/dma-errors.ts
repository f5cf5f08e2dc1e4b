/** Why the kernel refused to map memory for DMA. Both kernel back ends give the same reasons. */
import { constants } from 'node:os';
import { NicError } from '../errors.js';
import { KERNEL_LOG_HINT } from '../pci/vfio-state.js';
import { coversIova } from './iova-ranges.js';
import type { KernelApi } from './kernel-api.js';
import type { DmaBacking, IovaRange } from './types.js';
import type { IoctlRequest } from './uapi.js';

/** Four ports with a hugepage of 2 MiB each. */
const ROOM_FOR_RINGS_BYTES = 8 * 2 ** 20;

const { EADDRINUSE, EEXIST, EFAULT, EINVAL, ENOMEM, ENOSPC } = constants.errno;

export interface FailedMap {
  readonly request: IoctlRequest;
  readonly errno: number;
  readonly backing: DmaBacking;
  readonly iova: bigint;
  /** What this process has mapped before. */
  readonly mappedBytes: number;
  readonly ranges: readonly IovaRange[];
}

/** `MEMLOCK_LIMIT` where the limit of locked memory explains the failure, else `DMA_MAP`. */
export function dmaMapError(kernel: KernelApi, failure: FailedMap): NicError {
  const { request, errno, backing, iova, ranges } = failure;
  const syscall = `ioctl(${request.name})`;
  const what = `Cannot map ${sizeText(backing.sizeBytes)} for DMA at IOVA 0x${iova.toString(16)}`;
  if (errno !== ENOMEM) {
    return new NicError('DMA_MAP', what, { syscall, errno, hint: mapHint(errno, iova, backing, ranges) });
  }
  const limitBytes = kernel.memlockLimitBytes();
  const neededBytes = Math.max(failure.mappedBytes, lockedBytes(kernel)) + backing.sizeBytes;
  if (limitBytes < neededBytes) {
    return new NicError(
      'MEMLOCK_LIMIT',
      `${what}: this user may lock ${sizeText(limitBytes)}, and ${sizeText(neededBytes)} are needed so far`,
      { syscall, errno, hint: raiseLimitHint(neededBytes) },
    );
  }
  // iommufd counts what all processes of the user have pinned, which nobody can look up.
  const hint = Number.isFinite(limitBytes)
    ? `other processes of this user may have used up its limit of ${sizeText(limitBytes)} (ulimit -l): end them, or raise it`
    : 'the kernel is out of memory: free some, or map less';
  return new NicError('DMA_MAP', what, { syscall, errno, hint });
}

function mapHint(errno: number, iova: bigint, backing: DmaBacking, ranges: readonly IovaRange[]): string {
  if (errno === EEXIST || errno === EADDRINUSE) return 'something is mapped there already';
  if (errno === ENOSPC)
    return 'too many mappings (dma_entry_limit of vfio_iommu_type1): use fewer, larger regions';
  if (errno === EFAULT) return 'the memory at that address is not mapped in this process';
  if (errno !== EINVAL) return KERNEL_LOG_HINT;
  if (coversIova(ranges, iova, backing.sizeBytes))
    return 'address, IOVA and size must be multiples of the page size';
  const list = ranges.map(({ first, last }) => `0x${first.toString(16)}-0x${last.toString(16)}`).join(', ');
  return `the IOMMU translates only ${list}`;
}

/**
 * A run maps several regions, the largest first: the packet pool, then a small one for the rings of each port. So that the
 * command that is given here is the last one, it leaves room for the rings of further ports.
 */
function raiseLimitHint(neededBytes: number): string {
  const bytes = 2 ** Math.ceil(Math.log2(neededBytes + ROOM_FOR_RINGS_BYTES));
  const kib = bytes / 1024;
  return (
    `raise the limit to ${sizeText(bytes)}, which leaves room for the rings of more ports: ` +
    `\`sudo prlimit --memlock=${bytes} --pid $$\` for this shell (\`ulimit -l\` then says ${kib}); for good, ` +
    `"USER - memlock ${kib}" in /etc/security/limits.conf and a new login, or LimitMEMLOCK=${bytes} in a systemd unit`
  );
}

/** What the kernel has charged to this process: VmLck in /proc/self/status. */
function lockedBytes(kernel: KernelApi): number {
  const match = /^VmLck:\s+(\d+) kB$/m.exec(kernel.readText('/proc/self/status') ?? '');
  return match === null ? 0 : Number(match[1]) * 1024;
}

function sizeText(bytes: number): string {
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20} MiB`;
  return `${Math.ceil(bytes / 1024)} KiB`;
}
