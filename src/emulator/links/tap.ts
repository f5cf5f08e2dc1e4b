/**
 * A kernel TAP interface as a port: what the emulated NIC sends appears on the interface, and the other way round.
 * Specification: Linux Documentation/networking/tuntap.rst. Needs CAP_NET_ADMIN, or an interface made for the user
 * with `ip tuntap add`.
 */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { isErrno, NicError } from '../../errors.js';
import { watchFd } from '../../syscalls/descriptors.js';
import { ioctl } from '../../syscalls/ioctl.js';
import { type FrameMemory, frameMemory, type Pollable, type Port } from '../link.js';

const TUN_DEVICE = '/dev/net/tun';
/** _IOW('T', 202, int) */
const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;
const MAX_FRAME_BYTES = 65536;
const MIN_FRAME_BYTES = 60;

/** The interface behind the descriptor has been deleted; Node.js has no name for it (asm-generic/errno.h). */
const EBADFD = 77;

export interface TapCounters {
  /** Frames that came from the interface. */
  readonly in: number;
  /** Frames that went to the interface. */
  readonly out: number;
  /** Frames that the kernel did not take, usually because the interface is down; all, once it is deleted. */
  readonly dropped: number;
}

export class TapPort implements Port, Pollable {
  /** Name of the interface as the kernel gave it. */
  readonly name: string;
  /** Called when the interface has something to read. */
  onReadable: (() => void) | undefined;
  /** Called once when the interface turns out to have been deleted. It does not come back. */
  onGone: ((error: NicError) => void) | undefined;
  readonly #fd: number;
  readonly #memory = frameMemory(MAX_FRAME_BYTES);
  #stopWatching: (() => void) | undefined;
  readonly #counters = { in: 0, out: 0, dropped: 0 };
  #out: Port | undefined;
  #flowControl = false;
  #readable = true;
  #open = true;

  /**
   * @param name interface to open or make; `%d` in it is replaced with a number
   * @throws NicError `SYSCALL`, `NO_PERMISSION`, `BAD_OPTION`
   */
  constructor(name = 'bw%d') {
    if (Buffer.byteLength(name) >= NAME_BYTES)
      throw new NicError('BAD_OPTION', `interface name ${name} is over 15 bytes`);
    this.#fd = openTun();
    const request = new Uint8Array(IFREQ_BYTES);
    request.set(Buffer.from(name));
    request[NAME_BYTES] = (IFF_TAP | IFF_NO_PI) & 0xff;
    request[NAME_BYTES + 1] = (IFF_TAP | IFF_NO_PI) >>> 8;
    try {
      ioctl(this.#fd, TUNSETIFF, 'TUNSETIFF', request);
    } catch (error) {
      closeSync(this.#fd);
      throw explainTunSetIff(error, name);
    }
    this.name = Buffer.from(request.subarray(0, NAME_BYTES)).toString().replace(/\0.*$/, '');
    this.#watch();
  }

  /**
   * The event loop calls again and again while there is something to read. When frames wait because the receiver has
   * no room, that would keep a core busy: so the second call in a row ends it, until all has been read.
   */
  #watch(): void {
    this.#stopWatching = watchFd(this.#fd, { readable: true }, false, () => {
      if (this.#readable) {
        this.#stopWatching?.();
        this.#stopWatching = undefined;
      }
      this.#readable = true;
      this.onReadable?.();
    });
  }

  get counters(): TapCounters {
    return { ...this.#counters };
  }

  get resting(): boolean {
    return !this.#readable;
  }

  poll(budget: number): number {
    let count = 0;
    const out = this.#out;
    // What has no room waits in the kernel's queue of the interface.
    const most = this.#flowControl ? Math.min(budget, out?.room() ?? 0) : budget;
    while (this.#open && this.#readable && count < most) {
      const lengthBytes = this.#read();
      if (lengthBytes < 0) break;
      count++;
      this.#counters.in++;
      if (lengthBytes < 14 || out === undefined) continue;
      // The kernel hands over frames as they were made; the wire has at least 64 octets.
      if (lengthBytes < MIN_FRAME_BYTES) this.#memory.bytes.fill(0, lengthBytes, MIN_FRAME_BYTES);
      out.deliver(this.#memory, 0, Math.max(lengthBytes, MIN_FRAME_BYTES));
    }
    if (count > 0) out?.flush();
    return count;
  }

  /** @returns length of the frame read, -1 where there is none */
  #read(): number {
    try {
      return readSync(this.#fd, this.#memory.bytes, 0, MAX_FRAME_BYTES, null);
    } catch (error) {
      // EAGAIN: nothing more. EIO: the interface is down; when it comes up, there is something to read again.
      this.#readable = false;
      this.#checkGone(error);
      if (this.#open && this.#stopWatching === undefined) this.#watch();
      return -1;
    }
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (this.#open) {
      try {
        writeSync(this.#fd, memory.bytes, offsetBytes, lengthBytes, null);
        this.#counters.out++;
        return true;
      } catch (error) {
        this.#checkGone(error);
      }
    }
    this.#counters.dropped++;
    return false;
  }

  #checkGone(error: unknown): void {
    if ((error as NodeJS.ErrnoException).errno !== -EBADFD || !this.#open) return;
    this.close();
    this.onGone?.(
      new NicError('PEER_GONE', `The interface ${this.name} has been deleted: its link is down`, {
        path: this.name,
        hint: 'Start the emulator again to make it anew.',
      }),
    );
  }

  plug(out: Port | undefined, flowControl: boolean): void {
    this.#out = out;
    this.#flowControl = flowControl;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  receiving(): boolean {
    return this.#open;
  }

  room(): number {
    return 64;
  }

  /** May be called twice. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stopWatching?.();
    closeSync(this.#fd);
  }
}

function explainTunSetIff(error: unknown, name: string): unknown {
  const details = { path: name, cause: error };
  if (isErrno(error, 'EPERM')) {
    return new NicError('NO_PERMISSION', `may not use TAP interface ${name}`, {
      ...details,
      hint: `run as root, or make it for this user: ip tuntap add ${name} mode tap user $USER`,
    });
  }
  if (isErrno(error, 'EBUSY')) {
    return new NicError('ALREADY_OPEN', `TAP interface ${name} is in use by another program`, {
      ...details,
      hint: 'Stop that, or choose another name.',
    });
  }
  if (isErrno(error, 'EINVAL')) {
    return new NicError('BAD_OPTION', `${name} cannot be a TAP interface`, {
      ...details,
      hint: 'Choose a name that no other interface has, without "/" and blanks.',
    });
  }
  return error;
}

function openTun(): number {
  try {
    return openSync(TUN_DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const missing = isErrno(error, 'ENOENT') || isErrno(error, 'ENODEV');
    throw new NicError(missing ? 'SYSCALL' : 'NO_PERMISSION', `cannot open ${TUN_DEVICE}`, {
      path: TUN_DEVICE,
      cause: error,
      hint: missing ? 'load the kernel module: modprobe tun' : 'run as root',
    });
  }
}
