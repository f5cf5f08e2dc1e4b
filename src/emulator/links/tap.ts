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

export class TapPort implements Port, Pollable {
  /** Name of the interface as the kernel gave it. */
  readonly name: string;
  /** Frames the kernel did not take, usually because the interface is down. */
  refused = 0;
  /** Called when the interface has something to read. */
  onReadable: (() => void) | undefined;
  readonly #fd: number;
  readonly #memory = frameMemory(MAX_FRAME_BYTES);
  readonly #stopWatching: () => void;
  #out: Port | undefined;
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
      if (!isErrno(error, 'EPERM')) throw error;
      throw new NicError('NO_PERMISSION', `may not use TAP interface ${name}`, {
        cause: error,
        hint: `run as root, or make it for this user: ip tuntap add ${name} mode tap user $USER`,
      });
    }
    this.name = Buffer.from(request.subarray(0, NAME_BYTES)).toString().replace(/\0.*$/, '');
    this.#stopWatching = watchFd(this.#fd, { readable: true }, false, () => {
      this.#readable = true;
      this.onReadable?.();
    });
  }

  poll(budget: number): number {
    let count = 0;
    const out = this.#out;
    while (this.#open && this.#readable && count < budget) {
      const lengthBytes = this.#read();
      if (lengthBytes < 0) break;
      count++;
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
      // EAGAIN: nothing more. Anything else (EBADFD: interface deleted) will not get better by trying again at once.
      void error;
      this.#readable = false;
      return -1;
    }
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    if (!this.#open) return false;
    try {
      writeSync(this.#fd, memory.bytes, offsetBytes, lengthBytes, null);
      return true;
    } catch {
      this.refused++;
      return false;
    }
  }

  plug(out: Port | undefined): void {
    this.#out = out;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return 64;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stopWatching();
    closeSync(this.#fd);
  }
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
