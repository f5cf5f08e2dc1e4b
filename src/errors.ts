/**
 * The one error class of the project. An error says what was attempted, on what, what came back, and
 * (in `hint`) what to do about it. `code` names the failing step and is stable; messages are not.
 */
import { getSystemErrorMap, getSystemErrorName } from 'node:util';

/** Stable names of the steps that can fail. */
export type NicErrorCode =
  // addresses and PCI
  | 'BAD_ADDRESS'
  | 'BAD_OPTION'
  | 'BAD_ARGUMENT'
  | 'NO_SUCH_DEVICE'
  | 'NOT_A_NIC'
  | 'UNSUPPORTED_DEVICE'
  | 'INTERFACE_IN_USE'
  | 'BIND_FAILED'
  | 'CONFIG_SPACE'
  // VFIO
  | 'NO_VFIO'
  | 'NO_IOMMU'
  | 'NOT_BOUND'
  | 'GROUP_NOT_VIABLE'
  | 'GROUP_BUSY'
  | 'NO_PERMISSION'
  | 'VFIO'
  | 'REGION_RANGE'
  | 'INTERRUPTS'
  // DMA memory
  | 'MEMLOCK_LIMIT'
  | 'NO_MEMORY'
  | 'IOVA_SPACE'
  | 'DMA_MAP'
  // devices
  | 'ALREADY_OPEN'
  | 'CLOSED'
  | 'DEVICE_GONE'
  | 'DEVICE_TIMEOUT'
  | 'DEVICE_STATE'
  | 'NO_LINK'
  | 'OWNERSHIP'
  // capture files
  | 'BAD_FILE'
  // vfio-user
  | 'PROTOCOL'
  | 'PEER_GONE'
  | 'SYSCALL';

export interface NicErrorDetails {
  /** System call that failed, for example `ioctl(VFIO_DEVICE_GET_INFO)`. */
  syscall?: string | undefined;
  /** errno value as the kernel gave it, of either sign. */
  errno?: number | undefined;
  /** File, PCI address or socket that was acted on. */
  path?: string | undefined;
  /** What the reader can do about it. */
  hint?: string | undefined;
  cause?: unknown;
}

/**
 * Thrown by every part of the library.
 *
 * @example
 * try { await open('0000:03:00.0'); }
 * catch (error) { if (error instanceof NicError) console.error(error.code, error.message, error.hint); }
 */
export class NicError extends Error {
  readonly code: NicErrorCode;
  readonly syscall: string | undefined;
  /** Negative, as in Node.js's own errors: -16 for EBUSY. */
  readonly errno: number | undefined;
  readonly path: string | undefined;
  readonly hint: string | undefined;

  constructor(code: NicErrorCode, message: string, details: NicErrorDetails = {}) {
    const reason = details.errno === undefined ? '' : `: ${errnoText(details.errno)}`;
    super(`${message}${reason}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'NicError';
    this.code = code;
    this.syscall = details.syscall;
    this.errno = details.errno === undefined ? undefined : -Math.abs(details.errno);
    this.path = details.path;
    this.hint = details.hint;
  }
}

/** `EBUSY (resource busy or locked)` for 16 or -16; `errno 4095` where the number has no name. */
export function errnoText(errno: number): string {
  const entry = getSystemErrorMap().get(-Math.abs(errno));
  return entry === undefined ? `errno ${Math.abs(errno)}` : `${entry[0]} (${entry[1]})`;
}

/** `EBUSY` for 16 or -16. */
export function errnoName(errno: number): string {
  const negative = -Math.abs(errno);
  return getSystemErrorMap().has(negative) ? getSystemErrorName(negative) : `errno ${-negative}`;
}

/** True for a `NicError` of a system call with this errno name, for example `ENOENT`. */
export function isErrno(error: unknown, name: string): boolean {
  if (error instanceof NicError) return error.errno !== undefined && errnoName(error.errno) === name;
  return error instanceof Error && (error as NodeJS.ErrnoException).code === name;
}
