/**
 * Packet buffers. A packet is an integer: the index of a buffer in the pool. All buffers lie side by side in one DMA
 * region, so a buffer's address is `iovaLow + (index << bufferShift)`: no table and no BigInt. What is known of a
 * packet lies beside the buffers in typed arrays (struct of arrays), not in front of the data as in ixy: the data
 * starts at a power of two and a cache line per packet is saved.
 *
 * Free buffers are a stack of indices: the last one given back is the warmest in the cache.
 */
import { NicError } from '../errors.js';
import type { DmaMapper } from '../vfio/types.js';
import { DmaRegion, type PageSize } from './dma-region.js';

export interface PacketPoolOptions {
  /** Number of buffers, 1 to 1,048,576. Default 4096. */
  readonly buffers?: number;
  /** Size of each: a power of two, 1024 to 16384 bytes (NICs count buffers in KiB). Default 2048. */
  readonly bufferSizeBytes?: number;
  readonly pageSize?: PageSize;
  /**
   * Checks on every hand-over who owns a buffer: freeing twice, sending a buffer that is free or already sent, and
   * using one after it was sent throw `OWNERSHIP` and say where it was given away. Slow: for tests and debugging.
   */
  readonly debug?: boolean;
}

/** Bits of `PacketPool.rxFlags`. */
export const RxFlag = {
  /** A VLAN tag was taken out of the frame; it is in `vlanTags`. */
  VLAN: 1 << 0,
  /** The hardware checked the IPv4 header checksum. */
  IP_CHECKED: 1 << 1,
  /** ... and found it wrong. */
  IP_BAD: 1 << 2,
  /** The hardware checked the TCP or UDP checksum. */
  L4_CHECKED: 1 << 3,
  /** ... and found it wrong. */
  L4_BAD: 1 << 4,
  /** `rssHashes` has the hash that chose the queue. */
  RSS_HASH: 1 << 5,
} as const;

/** Bits of `PacketPool.txFlags`. */
export const TxFlag = {
  /** Put `vlanTags[i]` into the frame. */
  VLAN: 1 << 0,
  /** Compute the IPv4 header checksum; its field must be 0. */
  IP_CHECKSUM: 1 << 1,
  /** Compute the TCP checksum; its field must hold the sum of the pseudo header, not inverted. */
  TCP_CHECKSUM: 1 << 2,
  /** Compute the UDP checksum; its field must hold the sum of the pseudo header, not inverted. */
  UDP_CHECKSUM: 1 << 3,
} as const;

/** Value for `PacketPool.txHeaders`. @param ethernetBytes 14, or 18 with a VLAN tag in the frame */
export function headerLengths(ethernetBytes: number, ipBytes: number): number {
  return (ethernetBytes << 9) | ipBytes;
}

/** More than 64 bytes: smaller arrays lie in the engine's heap, where they move. */
const FREE_LEVEL_LENGTH = 32;

export class PacketPool {
  readonly capacity: number;
  readonly bufferSizeBytes: number;
  /** log2 of the buffer size: buffer i starts at byte `i << bufferShift` of `memory`. */
  readonly bufferShift: number;
  /** All buffers side by side. Byte b of packet p is `memory[(p << bufferShift) + b]`. */
  readonly memory: Uint8Array;
  /** Bytes in each packet, without the Ethernet FCS. Set by `receive`; set it yourself before `send`. */
  readonly lengths: Uint16Array;
  /** What a device opened with `rxMetadata` found out about each received packet: bits of `RxFlag`. */
  readonly rxFlags: Uint8Array;
  /** VLAN tag (PCP, DEI, VID) taken out on receive (`RxFlag.VLAN`), or to be put in by `sendOffloaded`. */
  readonly vlanTags: Uint16Array;
  /** RSS hash, valid with `RxFlag.RSS_HASH`. */
  readonly rssHashes: Uint32Array;
  /** What `sendOffloaded` is to do: bits of `TxFlag`. `send` ignores it. */
  readonly txFlags: Uint8Array;
  /** For `sendOffloaded` with checksums: Ethernet header bytes << 9 | IP header bytes. See `headerLengths`. */
  readonly txHeaders: Uint16Array;
  /** Stack of free buffers. For drivers: take with `free[--freeCount]`, give with `free[freeCount++] = i`. */
  readonly free: Int32Array;
  /** Element 0 is `freeCount`: an array, so that packet loops can keep it without a heap number. */
  readonly freeLevel: Int32Array = new Int32Array(FREE_LEVEL_LENGTH);
  /** Who owns each buffer; undefined unless the pool was made with `debug`. */
  readonly owners: BufferOwners | undefined;
  readonly #region: DmaRegion;
  readonly #views: (Uint8Array | undefined)[];
  #users = 0;

  /** @throws NicError `BAD_OPTION`, `NO_MEMORY` */
  constructor(options: PacketPoolOptions = {}) {
    const { buffers = 4096, bufferSizeBytes = 2048, pageSize = 'auto', debug = false } = options;
    if (!Number.isInteger(buffers) || buffers < 1 || buffers > 1 << 20) {
      throw new NicError('BAD_OPTION', `A pool of ${buffers} buffers is not possible`, {
        hint: 'Give 1 to 1048576 buffers.',
      });
    }
    const shift = Math.log2(bufferSizeBytes);
    if (!Number.isInteger(shift) || bufferSizeBytes < 1024 || bufferSizeBytes > 16384) {
      throw new NicError('BAD_OPTION', `Buffers of ${bufferSizeBytes} bytes are not possible`, {
        hint: 'Give a power of two from 1024 to 16384.',
      });
    }
    this.capacity = buffers;
    this.bufferSizeBytes = bufferSizeBytes;
    this.bufferShift = shift;
    this.#region = new DmaRegion({ sizeBytes: buffers * bufferSizeBytes, pageSize, name: 'packets' });
    this.memory = new Uint8Array(this.#region.buffer, 0, buffers * bufferSizeBytes);
    this.lengths = new Uint16Array(buffers);
    this.rxFlags = new Uint8Array(buffers);
    this.vlanTags = new Uint16Array(buffers);
    this.rssHashes = new Uint32Array(buffers);
    this.txFlags = new Uint8Array(buffers);
    this.txHeaders = new Uint16Array(buffers);
    this.free = new Int32Array(buffers);
    // Lowest index on top of the stack.
    for (let i = 0; i < buffers; i++) this.free[i] = buffers - 1 - i;
    this.freeCount = buffers;
    this.owners = debug ? new BufferOwners(buffers) : undefined;
    this.#views = new Array<Uint8Array | undefined>(buffers);
  }

  /** Number of free buffers: how high the stack is. */
  get freeCount(): number {
    return this.freeLevel[0]!;
  }

  set freeCount(count: number) {
    this.freeLevel[0] = count;
  }

  /** Bits 31:0 of the I/O address of buffer 0. @throws NicError `DMA_MAP` before a device uses the pool */
  get iovaLow(): number {
    return this.#region.iovaLow;
  }

  /** Bits 63:32 of the I/O address of every buffer. @throws NicError `DMA_MAP` before a device uses the pool */
  get iovaHigh(): number {
    return this.#region.iovaHigh;
  }

  get pageSizeBytes(): number {
    return this.#region.pageSizeBytes;
  }

  /** Number of free buffers. */
  get available(): number {
    return this.freeCount;
  }

  /**
   * Takes up to `count` buffers for the caller to fill and send; writes their indices to `out` and returns how many
   * there were. An empty pool gives 0, never an error.
   */
  allocate(out: Uint32Array, count: number = out.length): number {
    const wanted = Math.min(count, out.length, this.freeCount);
    for (let i = 0; i < wanted; i++) out[i] = this.free[--this.freeCount]!;
    this.owners?.taken(out, 0, wanted);
    return wanted;
  }

  /**
   * Gives buffers `bufs[from]` to `bufs[to - 1]` back to the pool; by default all of them.
   * @throws NicError `OWNERSHIP` for an index outside the pool or more buffers than the pool has (a double free);
   *   with `debug`, for every buffer that the caller does not own
   */
  release(bufs: Uint32Array, from = 0, to: number = bufs.length): void {
    this.owners?.released(bufs, from, to);
    for (let i = from; i < to; i++) {
      const index = bufs[i]!;
      if (!(index < this.capacity) || this.freeCount >= this.capacity) {
        throw new NicError(
          'OWNERSHIP',
          `Buffer ${index} cannot be given back to a pool of ${this.capacity}`,
          {
            hint: 'It was given back before, or is not of this pool. Make the pool with {debug: true} to see where.',
          },
        );
      }
      this.free[this.freeCount++] = index;
    }
  }

  /**
   * The whole buffer as bytes; the same view at each call (made at the first). The packet is its first
   * `lengths[index]` bytes. @throws RangeError for an index outside the pool
   */
  bytes(index: number): Uint8Array {
    const view = this.#views[index];
    if (view !== undefined) return view;
    if (!(index >= 0 && index < this.capacity)) throw new RangeError(`No buffer ${index} in this pool`);
    const made = this.memory.subarray(index << this.bufferShift, (index + 1) << this.bufferShift);
    this.#views[index] = made;
    return made;
  }

  /** Lets the devices behind `mapper` access the buffers. Drivers call it at open. */
  attach(mapper: DmaMapper): void {
    this.#region.mapInto(mapper);
    this.#users++;
  }

  /** Ends one `attach`; the device must have stopped its DMA. */
  detach(mapper: DmaMapper): void {
    this.#users--;
    this.#region.unmapFrom(mapper);
  }

  /**
   * Gives the memory back to the system. Close all devices that use the pool first. Views read zeros afterwards.
   * @throws NicError `OWNERSHIP` while a device uses the pool
   */
  close(): void {
    if (this.#users > 0) {
      throw new NicError('OWNERSHIP', `The pool is in use by ${this.#users} device(s)`, {
        hint: 'Close the devices first.',
      });
    }
    this.#region.close();
  }
}

/** Book-keeping of `debug` pools: which buffers the application owns, and where it gave the others away. */
export class BufferOwners {
  /** 1 where the application owns the buffer. */
  readonly #owned: Uint8Array;
  readonly #givenAwayAt: (Error | undefined)[];

  constructor(buffers: number) {
    this.#owned = new Uint8Array(buffers);
    this.#givenAwayAt = new Array<Error | undefined>(buffers);
  }

  /** The application was given these: by `allocate`, `receive`. @throws NicError `OWNERSHIP` if it had one already */
  taken(bufs: Uint32Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const index = bufs[i]!;
      if (this.#owned[index] !== 0) {
        throw new NicError('OWNERSHIP', `Buffer ${index} was handed out while the application owned it`);
      }
      this.#owned[index] = 1;
    }
  }

  released(bufs: Uint32Array, from: number, to: number): void {
    this.#givenAway(bufs, from, to, 'given back to the pool');
  }

  sent(bufs: Uint32Array, from: number, to: number): void {
    this.#givenAway(bufs, from, to, 'sent');
  }

  /** Throws unless the application owns these. */
  check(bufs: Uint32Array, from: number, to: number, attempt: string): void {
    for (let i = from; i < to; i++) {
      const index = bufs[i]!;
      if (this.#owned[index] === 1) continue;
      const before = this.#givenAwayAt[index];
      throw new NicError(
        'OWNERSHIP',
        `Buffer ${index} is to be ${attempt}, but the application does not own it`,
        {
          hint:
            before === undefined
              ? 'It was never received or allocated.'
              : `It was ${before.message} before; see cause.`,
          cause: before,
        },
      );
    }
  }

  #givenAway(bufs: Uint32Array, from: number, to: number, what: string): void {
    this.check(bufs, from, to, what);
    const where = new Error(what);
    for (let i = from; i < to; i++) {
      const index = bufs[i]!;
      // The same buffer twice in one call: the second finds it no longer owned.
      if (this.#owned[index] === 0) this.check(bufs, i, i + 1, what);
      this.#owned[index] = 0;
      this.#givenAwayAt[index] = where;
    }
  }
}
