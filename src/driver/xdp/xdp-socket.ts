/**
 * One AF_XDP socket: the pool's memory registered as its UMEM, four rings, bound to one queue of an interface. Each
 * socket registers the memory by itself, so that a buffer received on one can be sent on any other without a copy.
 */
import { NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import { closeFd, watchFd } from '../../syscalls/descriptors.js';
import { memlockLimitBytes } from '../../syscalls/limits.js';
import { type Mapping, munmap } from '../../syscalls/memory.js';
import {
  bindSocket,
  getSocketOption,
  rawSocket,
  setSocketOption,
  socketError,
  wakeReceive,
  wakeTransmit,
} from '../../syscalls/sockets.js';
import type { WaitOptions } from '../device.js';
import { until } from '../until.js';
import { umemHeadroom } from './buffers.js';
import type { KernelSocket } from './kernel.js';
import { ADDRESS_SHIFT, DESCRIPTOR_SHIFT, type KernelRing, mapRing, parseOffsets } from './kernel-ring.js';
import { failedOn } from './program.js';
import {
  AF_XDP,
  MMAP_OFFSETS_BYTES,
  OPTIONS_ZEROCOPY,
  Option,
  PageOffset,
  parseStatistics,
  SOL_XDP,
  STATISTICS_BYTES,
  socketAddress,
  umemReg,
  type XdpMode,
  type XdpStatistics,
} from './uapi.js';

const EBUSY = 16;
const ENOBUFS = 105;
const ENOMEM = 12;
const EOPNOTSUPP = 95;
const ENOPROTOOPT = 92;
export const EAFNOSUPPORT = 97;

const SOL_SOCKET = 1;
const SO_BUSY_POLL = 46;
const SO_PREFER_BUSY_POLL = 69;
const SO_BUSY_POLL_BUDGET = 70;
/** Packets that one call has the driver handle at most: as many as its interrupt's work does. */
const BUSY_POLL_BUDGET = 64;
/** A queue stays busy for some milliseconds after its last socket was closed. */
const BUSY_MS = 500;

export interface XdpSocketOptions {
  readonly name: string;
  readonly pool: PacketPool;
  /** Virtual address of the pool's first buffer. */
  readonly memoryAddress: bigint;
  readonly rxRingSize: number;
  readonly txRingSize: number;
}

export class XdpSocket implements KernelSocket {
  readonly fd: number;
  readonly rx: KernelRing;
  readonly tx: KernelRing;
  readonly fill: KernelRing;
  readonly completion: KernelRing;
  readonly #name: string;
  readonly #mappings: Mapping[] = [];
  #closed = false;

  /** @throws NicError `NO_PERMISSION`, `MEMLOCK_LIMIT`, `UNSUPPORTED_DEVICE` where the kernel has no AF_XDP, `SYSCALL` */
  constructor(options: XdpSocketOptions) {
    const { name, pool, memoryAddress, rxRingSize, txRingSize } = options;
    this.#name = name;
    const fd = rawSocket(AF_XDP);
    if (fd === -EAFNOSUPPORT) {
      throw new NicError('UNSUPPORTED_DEVICE', 'This kernel has no AF_XDP', {
        errno: fd,
        path: name,
        hint: 'It needs CONFIG_XDP_SOCKETS.',
      });
    }
    if (fd < 0) throw failedOn(name, 'socket(AF_XDP)', fd);
    this.fd = fd;
    try {
      const sizeBytes = pool.capacity * pool.bufferSizeBytes;
      this.#register(umemReg(memoryAddress, sizeBytes, pool.bufferSizeBytes, umemHeadroom(pool)), sizeBytes);
      this.#set('XDP_UMEM_FILL_RING', Option.UMEM_FILL_RING, rxRingSize);
      this.#set('XDP_UMEM_COMPLETION_RING', Option.UMEM_COMPLETION_RING, txRingSize);
      this.#set('XDP_RX_RING', Option.RX_RING, rxRingSize);
      this.#set('XDP_TX_RING', Option.TX_RING, txRingSize);
      // Not known to every kernel: those take 32 frames a call.
      setSocketOption(fd, SOL_XDP, Option.MAX_TX_SKB_BUDGET, word(txRingSize));
      const bytes = new Uint8Array(MMAP_OFFSETS_BYTES);
      const size = getSocketOption(fd, SOL_XDP, Option.MMAP_OFFSETS, bytes);
      if (size !== MMAP_OFFSETS_BYTES)
        throw failedOn(name, 'getsockopt(XDP_MMAP_OFFSETS)', Math.min(size, -1));
      const [rx, tx, fill, completion] = parseOffsets(bytes);
      const map = (page: number, offsets: typeof rx, entries: number, shift: number): KernelRing => {
        const { ring, mapping } = mapRing(fd, page, offsets!, entries, shift);
        this.#mappings.push(mapping);
        return ring;
      };
      this.rx = map(PageOffset.RX, rx, rxRingSize, DESCRIPTOR_SHIFT);
      this.tx = map(PageOffset.TX, tx, txRingSize, DESCRIPTOR_SHIFT);
      this.fill = map(PageOffset.FILL, fill, rxRingSize, ADDRESS_SHIFT);
      this.completion = map(PageOffset.COMPLETION, completion, txRingSize, ADDRESS_SHIFT);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Binds it to a queue. Resolves with the mode that it has.
   * @throws NicError `ALREADY_OPEN` where another socket has it, `BAD_OPTION` where the mode is not possible, `SYSCALL`; the
   *   signal's reason
   */
  async bind(
    interfaceIndex: number,
    queue: number,
    options: WaitOptions & { mode: 'auto' | XdpMode; closed: AbortSignal },
  ): Promise<XdpMode> {
    const { mode } = options;
    let result = 0;
    const look = (): true | undefined => {
      result = bindSocket(this.fd, socketAddress(interfaceIndex, queue, mode));
      return result === -EBUSY ? undefined : true;
    };
    await until(look, { ...options, timeoutMs: BUSY_MS });
    options.signal?.throwIfAborted();
    if (result === -EBUSY) {
      throw new NicError('ALREADY_OPEN', `Queue ${queue} of ${this.#name} has an AF_XDP socket already`, {
        syscall: 'bind(AF_XDP)',
        errno: result,
        path: this.#name,
        hint: 'End the program that has it, or take another queue: xdp:NAME/QUEUE.',
      });
    }
    if (result === -EOPNOTSUPP && mode === 'zero-copy') {
      throw new NicError('BAD_OPTION', `The driver of ${this.#name} has no zero-copy mode`, {
        syscall: 'bind(AF_XDP)',
        errno: result,
        path: this.#name,
        hint: 'Leave the mode out (interfaceMode, --interface-mode): the kernel copies then.',
      });
    }
    if (result < 0) throw failedOn(this.#name, `bind(AF_XDP) to queue ${queue}`, result);
    const flags = new Uint8Array(4);
    const size = getSocketOption(this.fd, SOL_XDP, Option.OPTIONS, flags);
    if (size < 0) throw failedOn(this.#name, 'getsockopt(XDP_OPTIONS)', size);
    return (flags[0]! & OPTIONS_ZEROCOPY) === 0 ? 'copy' : 'zero-copy';
  }

  busyPoll(microseconds: number): void {
    for (const [what, option, value] of [
      ['SO_PREFER_BUSY_POLL', SO_PREFER_BUSY_POLL, 1],
      ['SO_BUSY_POLL', SO_BUSY_POLL, microseconds],
      ['SO_BUSY_POLL_BUDGET', SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET],
    ] as const) {
      const result = setSocketOption(this.fd, SOL_SOCKET, option, word(value));
      if (result === -ENOPROTOOPT) {
        throw new NicError('BAD_OPTION', 'This kernel does no busy polling of AF_XDP sockets', {
          syscall: `setsockopt(${what})`,
          errno: result,
          path: this.#name,
          hint: 'It needs Linux 5.11 or later with CONFIG_NET_RX_BUSY_POLL: leave busyPollUs (--busy-poll) out.',
        });
      }
      if (result < 0) throw failedOn(this.#name, `setsockopt(${what})`, result);
    }
  }

  /** An error that waits on the socket, 0 where there is none. */
  error(): number {
    return socketError(this.fd);
  }

  /** Calls back when there is something to receive. Returns a function that ends it. */
  watch(onReadable: () => void): () => void {
    return watchFd(this.fd, { readable: true }, false, onReadable);
  }

  /** Has the kernel look at the transmit ring. Returns 0 or the negative errno. */
  wakeTransmit(): number {
    return wakeTransmit(this.fd);
  }

  /** Has the kernel look at the fill ring. Returns 0 or the negative errno. */
  wakeReceive(): number {
    return wakeReceive(this.fd);
  }

  statistics(): XdpStatistics {
    const bytes = new Uint8Array(STATISTICS_BYTES);
    const size = getSocketOption(this.fd, SOL_XDP, Option.STATISTICS, bytes);
    if (size < 0) throw failedOn(this.#name, 'getsockopt(XDP_STATISTICS)', size);
    return parseStatistics(bytes);
  }

  /** Closes the socket and its rings. May be called twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.fd);
    for (const mapping of this.#mappings) munmap(mapping);
  }

  #register(request: Uint8Array, sizeBytes: number): void {
    const result = setSocketOption(this.fd, SOL_XDP, Option.UMEM_REG, request);
    if (result === 0) return;
    if (result === -ENOBUFS || result === -ENOMEM) {
      throw new NicError('MEMLOCK_LIMIT', `${sizeBytes} bytes of packet buffers cannot be locked in memory`, {
        syscall: 'setsockopt(XDP_UMEM_REG)',
        errno: result,
        path: this.#name,
        hint: `The limit is ${memlockLimitBytes()} bytes, and each queue of each interface counts the pool once: raise it (ulimit -l), or take smaller rings.`,
      });
    }
    throw failedOn(this.#name, 'setsockopt(XDP_UMEM_REG)', result);
  }

  #set(what: string, option: number, value: number): void {
    const result = setSocketOption(this.fd, SOL_XDP, option, word(value));
    if (result < 0) throw failedOn(this.#name, `setsockopt(${what})`, result);
  }
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
