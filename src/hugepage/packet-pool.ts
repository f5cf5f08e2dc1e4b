/**
 * Packet buffers. A packet is an integer: the index of a buffer in the pool. All buffers lie side by side in one DMA
 * region, so where a frame starts is arithmetic: no table and no BigInt. What is known of a packet lies beside the
 * buffers in typed arrays (struct of arrays), not in front of the data as in ixy: that saves a cache line a packet.
 *
 *     buffer i    [ headroom | frame .................. ]
 *                 ^ i << bufferShift    in `memory`
 *                            ^ i << bufferShift    in `frames`
 *
 * The headroom is room in front of each frame for a header of the device's (virtio) or a tag or tunnel of the
 * application's, so that neither needs a copy.
 *
 * Free buffers are a stack of indices: the last one given back is the warmest in the cache.
 */
import { NicError } from '../errors.js';
import { badOption, booleanOption, describeValue, integerOption, knownOptions } from '../options.js';
import type { DmaMapper } from '../vfio/types.js';
import { AttachedMemory } from './attached-memory.js';
import { BufferOwners } from './buffer-owners.js';
import { DmaRegion, type PageSize } from './dma-region.js';
import { checkRange, isRange } from './packet-arrays.js';
import { PacketMetadata } from './packet-metadata.js';
import { PoolSlices } from './pool-slices.js';

export { checkRange, packetArray } from './packet-arrays.js';

export interface PacketPoolOptions {
  /** Number of buffers, 1 to 1,048,576. Default 4096. */
  readonly buffers?: number;
  /** Size of each: a power of two, 1024 to 16384 bytes (NICs count buffers in KiB). Default 2048. */
  readonly bufferSizeBytes?: number;
  /** Bytes in front of each frame: a multiple of 64 up to 512. Default 64. */
  readonly headroomBytes?: number;
  readonly pageSize?: PageSize;
  /**
   * Checks on every hand-over who owns a buffer. Freeing twice, sending or looking at (`bytes`) a buffer that is free
   * or sent throws `OWNERSHIP` and says where it was given away; so does, once the hardware is done with it, a buffer
   * whose bytes were changed after it was sent. Slow: for tests and debugging.
   */
  readonly debug?: boolean;
}

const BUFFERS = { min: 1, max: 1 << 20 } as const;
export const BUFFER_SIZE = { min: 1024, max: 16_384, powerOfTwo: true } as const;
export const BUFFER_SIZE_DEFAULT = 2048;
export const HEADROOM = { min: 0, max: 512, multipleOf: 64 } as const;
export const HEADROOM_DEFAULT = 64;

const KNOWN_OPTIONS = ['buffers', 'bufferSizeBytes', 'headroomBytes', 'pageSize', 'debug'] as const;

/** More than 64 bytes: smaller arrays lie in the engine's heap, where they move. */
const FREE_LEVEL_LENGTH = 32;

export class PacketPool {
  readonly capacity: number;
  readonly bufferSizeBytes: number;
  /** log2 of the buffer size: buffer i starts at byte `i << bufferShift` of `memory`. */
  readonly bufferShift: number;
  readonly headroomBytes: number;
  /** Longest frame that a buffer holds: its size less the headroom. */
  readonly maxFrameBytes: number;
  /** All buffers side by side, with their headroom. */
  readonly memory: Uint8Array;
  /** The same from the first frame on: byte b of packet p is `frames[(p << bufferShift) + b]`. */
  readonly frames: Uint8Array;
  /** Bytes in each packet, without the Ethernet FCS. Set by `receive`; set it yourself before `send`. */
  readonly lengths: Uint16Array;
  /** Stack of free buffers. For drivers: take with `free[--freeCount]`, give with `free[freeCount++] = i`. */
  readonly free: Int32Array;
  /** Element 0 is `freeCount`: an array, so that packet loops can keep it without a heap number. */
  readonly freeLevel: Int32Array = new Int32Array(FREE_LEVEL_LENGTH);
  /** Who owns each buffer; undefined unless the pool was made with `debug`. */
  readonly owners: BufferOwners | undefined;
  /** Which thread has each buffer, once a slice was made: see pool-slices.ts. */
  holders: Uint16Array | undefined;
  /** The number of this thread there: 0 for the one that made the pool. */
  readonly holder: number;
  readonly #region: DmaRegion | AttachedMemory;
  #slices: PoolSlices | undefined;
  readonly #views: (Uint8Array | undefined)[];
  #metadata: PacketMetadata | undefined;
  /** Devices that have the pool, and its maker until `close`. */
  #users = 1;
  #closed = false;

  /**
   * @param options of a new pool; `attachThread` gives the memory of one that another thread made
   * @throws NicError `BAD_OPTION`, `NO_MEMORY`
   */
  constructor(options: PacketPoolOptions | AttachedMemory = {}) {
    const shape = options instanceof AttachedMemory ? options.shape : checkedShape(options);
    const { buffers, bufferSizeBytes, headroomBytes, checks } = shape;
    this.capacity = buffers;
    this.bufferSizeBytes = bufferSizeBytes;
    this.headroomBytes = headroomBytes;
    this.maxFrameBytes = bufferSizeBytes - headroomBytes;
    this.bufferShift = Math.log2(bufferSizeBytes);
    this.#region =
      options instanceof AttachedMemory
        ? options
        : new DmaRegion({
            // Hardware that lets a tagged frame be longer by its tag may write that much past the last buffer.
            sizeBytes: buffers * bufferSizeBytes + headroomBytes,
            pageSize: shape.pageSize,
            name: 'packets',
          });
    this.memory = new Uint8Array(this.#region.buffer, 0, buffers * bufferSizeBytes);
    this.frames = this.memory.subarray(headroomBytes);
    this.lengths = new Uint16Array(buffers);
    this.free = new Int32Array(buffers);
    if (options instanceof AttachedMemory) {
      const { free, holders, holder } = options.ticket;
      this.free.set(free);
      this.freeCount = free.length;
      this.holders = holders;
      this.holder = holder;
    } else {
      // Lowest index on top of the stack.
      for (let i = 0; i < buffers; i++) this.free[i] = buffers - 1 - i;
      this.freeCount = buffers;
      this.holder = 0;
    }
    this.owners = checks ? new BufferOwners(this.frames, this.lengths, this.bufferShift) : undefined;
    this.#views = new Array<Uint8Array | undefined>(buffers);
  }

  /** Number of free buffers: how high the stack is. */
  get freeCount(): number {
    return this.freeLevel[0]!;
  }

  set freeCount(count: number) {
    this.freeLevel[0] = count;
  }

  /** Bits 31:0 of the I/O address of the first frame's first byte. @throws NicError `DMA_MAP` before a device uses the pool */
  get frameIovaLow(): number {
    return this.#region.iovaLow + this.headroomBytes;
  }

  /** Bits 63:32 of the I/O address of every byte. @throws NicError `DMA_MAP` before a device uses the pool */
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

  /** Flags, tags, hashes, times and header lengths of packets; its memory is taken when it is first asked for. */
  get metadata(): PacketMetadata {
    this.#metadata ??= new PacketMetadata(this.capacity);
    return this.#metadata;
  }

  /**
   * Takes up to `count` buffers for the caller to fill and send: writes their indices to `bufs`, from `start` on, and
   * returns how many there were. An empty pool gives 0, never an error.
   * @throws NicError `BAD_ARGUMENT`; `CLOSED` after the memory was given back
   */
  allocate(bufs: Uint32Array, count: number, start = 0): number {
    if (!isRange(bufs, count, start)) checkRange(bufs, count, start);
    this.#assertOpen();
    const wanted = Math.min(count, this.freeCount);
    const { free } = this;
    let level = this.freeCount;
    for (let i = start; i < start + wanted; i++) bufs[i] = free[--level]!;
    this.freeCount = level;
    this.owners?.taken(bufs, wanted, start);
    return wanted;
  }

  /**
   * Gives `count` buffers back to the pool: `bufs[start]` to `bufs[start + count - 1]`. All or, where it throws, none.
   * @throws NicError `BAD_ARGUMENT`; `OWNERSHIP` for an index outside the pool or more buffers than the pool has (a
   *   double free) and, with `debug`, for every buffer that the caller does not own
   */
  release(bufs: Uint32Array, count: number, start = 0): void {
    if (!isRange(bufs, count, start)) checkRange(bufs, count, start);
    this.#assertOpen();
    for (let i = start; i < start + count; i++) {
      if (!(bufs[i]! < this.capacity)) throw this.#foreign(bufs[i]!);
    }
    this.owners?.released(bufs, count, start);
    const { free } = this;
    let level = this.freeCount;
    if (level + count > this.capacity) throw this.#foreign(bufs[start]!);
    for (let i = start; i < start + count; i++) free[level++] = bufs[i]!;
    this.freeCount = level;
  }

  #foreign(index: number): NicError {
    return new NicError('OWNERSHIP', `Buffer ${index} cannot be given back to a pool of ${this.capacity}`, {
      hint: 'It was given back before, or is not of this pool. Make the pool with {debug: true} to see where.',
    });
  }

  /**
   * The buffer as bytes, from the start of its frame to the end of the buffer; the same view at each call (made at the
   * first). The packet is its first `lengths[index]` bytes.
   * @throws NicError `BAD_ARGUMENT` for an index outside the pool; `OWNERSHIP`, with `debug`, for a buffer that the
   *   application does not own
   */
  bytes(index: number): Uint8Array {
    this.owners?.check(index, 'looked at');
    const view = this.#views[index];
    if (view !== undefined) return view;
    if (!(Number.isInteger(index) && index >= 0 && index < this.capacity)) {
      throw new NicError('BAD_ARGUMENT', `No buffer ${describeValue(index)} in a pool of ${this.capacity}`);
    }
    const start = index << this.bufferShift;
    const made = this.frames.subarray(start, start + this.maxFrameBytes);
    this.#views[index] = made;
    return made;
  }

  /**
   * Lets the devices behind `mapper` access the buffers. Drivers call it at open.
   * @throws NicError `CLOSED`, `DMA_MAP`, `MEMLOCK_LIMIT`, `IOVA_SPACE`
   */
  attach(mapper: DmaMapper): void {
    this.#assertOpen();
    this.#region.mapInto(mapper);
    this.#users++;
  }

  /** Ends one `attach`; the device must have stopped its DMA. After `close`, the last one gives the memory back. */
  detach(mapper: DmaMapper): void {
    try {
      this.#region.unmapFrom(mapper);
    } finally {
      this.#leave();
    }
  }

  /**
   * The slices of other threads, for `shareWithThread`.
   * @throws NicError `BAD_OPTION` for a pool with checks; `OWNERSHIP` in a thread that has a slice itself; `CLOSED`
   */
  get slices(): PoolSlices {
    this.#assertOpen();
    if (this.owners !== undefined) {
      throw new NicError('BAD_OPTION', 'A pool made with { debug: true } can be used by one thread only', {
        hint: 'Leave debug out where threads share the pool.',
      });
    }
    const region = this.#region;
    if (region instanceof AttachedMemory) {
      throw new NicError('OWNERSHIP', 'Only the thread that made a pool can share it', {
        hint: 'Call shareWithThread where the device was opened.',
      });
    }
    this.#slices ??= new PoolSlices({
      capacity: this.capacity,
      free: this.free,
      freeLevel: this.freeLevel,
      describe: () => ({
        address: region.address,
        capacity: this.capacity,
        bufferSizeBytes: this.bufferSizeBytes,
        headroomBytes: this.headroomBytes,
        pageSizeBytes: region.pageSizeBytes,
        iovaLow: region.iovaLow,
        iovaHigh: region.iovaHigh,
      }),
      enter: () => {
        this.#users++;
      },
      leave: () => this.#leave(),
    });
    this.holders = this.#slices.holders;
    return this.#slices;
  }

  /**
   * Gives the memory back to the system as soon as no device uses the pool any more. Views read zeros afterwards. May be
   * called twice.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#leave();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #leave(): void {
    this.#users--;
    if (this.#users === 0) this.#region.close();
  }

  #assertOpen(): void {
    if (this.#users > 0) return;
    throw new NicError('CLOSED', 'The packet pool is closed', {
      hint: 'Its memory was given back when pool.close() had been called and the last device had closed.',
    });
  }
}

interface PoolShape {
  readonly buffers: number;
  readonly bufferSizeBytes: number;
  readonly headroomBytes: number;
  readonly pageSize: PageSize;
  readonly checks: boolean;
}

/** @throws NicError `BAD_OPTION` */
function checkedShape(options: PacketPoolOptions): PoolShape {
  knownOptions('PacketPool', options, KNOWN_OPTIONS);
  const {
    buffers = 4096,
    bufferSizeBytes = BUFFER_SIZE_DEFAULT,
    headroomBytes = HEADROOM_DEFAULT,
    pageSize = 'auto',
    debug = false,
  } = options;
  return {
    buffers: integerOption('buffers', buffers, BUFFERS),
    bufferSizeBytes: integerOption('bufferSizeBytes', bufferSizeBytes, BUFFER_SIZE),
    headroomBytes: integerOption('headroomBytes', headroomBytes, HEADROOM),
    pageSize,
    checks: booleanOption('debug', debug),
  };
}

/** The pool itself. @throws NicError `BAD_OPTION` for anything else */
export function poolOption(name: string, value: unknown): PacketPool {
  if (value instanceof PacketPool) return value;
  throw badOption(name, value, 'a PacketPool, such as that of another device');
}
