/**
 * The long way of `send`, the same for every ring: a part of an array, wrong arguments, packets that no hardware can send, and a
 * pool that watches its buffers. The packet loops come here where a call is not the usual one.
 */
import type { BufferOwners } from '../hugepage/buffer-owners.js';
import { checkRange, type PacketPool } from '../hugepage/packet-pool.js';
import type { TxQueue } from './device.js';

export interface UnusualSendsOptions {
  readonly pool: PacketPool;
  /** Descriptors of the ring. */
  readonly size: number;
  /** Shortest frame, and how much longer the longest is. */
  readonly minBytes: number;
  readonly spanBytes: number;
  /** Counts a packet that no hardware can send. */
  readonly countError: () => void;
  /** Packets that the ring has room for. */
  readonly room: () => number;
  /** The packet loop: sends so many from the beginning of an array. */
  readonly send: (bufs: Uint32Array, count: number) => number;
  readonly reclaim: () => void;
}

export class UnusualSends {
  readonly #options: UnusualSendsOptions;
  /** Packets of a call that sends a part of its array, or goes on behind a packet that was refused. */
  readonly #scratch: Uint32Array;

  constructor(options: UnusualSendsOptions) {
    this.#options = options;
    this.#scratch = new Uint32Array(options.size);
  }

  /** Sends, and checks first that the application owns the packets that will be taken. @param send the packet loop */
  checked(owners: BufferOwners, send: TxQueue['send']): TxQueue['send'] {
    const { room, reclaim } = this.#options;
    return (bufs, count, start = 0) => {
      checkRange(bufs, count, start);
      reclaim();
      const taken = Math.min(count, room());
      owners.sent(bufs, taken, start);
      return send(bufs, taken, start);
    };
  }

  /**
   * What is unusual about a call of `send`: a part of the array, wrong arguments, or a packet that no hardware can send
   * behind `before` that are queued. Returns how many were taken, these included.
   */
  rest(bufs: Uint32Array, count: number, start: number | undefined, before: number): number {
    checkRange(bufs, count, start);
    const { send, room } = this.#options;
    const from = start ?? 0;
    let taken = before;
    while (taken < count) {
      const good = this.#collectGood(bufs, from + taken, from + count);
      const sent = send(this.#scratch, good);
      taken += sent;
      // The next is one that no hardware can send. It is taken, to be refused, where it would have found room.
      if (sent < good || taken === count || room() === 0) break;
      this.refuse(bufs[from + taken]!);
      taken++;
    }
    return taken;
  }

  /** Copies packets to the scratch array up to one that no hardware can send, and returns how many there were. */
  #collectGood(bufs: Uint32Array, from: number, to: number): number {
    const { pool, minBytes, spanBytes } = this.#options;
    const most = Math.min(to - from, this.#scratch.length);
    for (let good = 0; good < most; good++) {
      const buffer = bufs[from + good]!;
      if (!(buffer < pool.capacity && (pool.lengths[buffer]! - minBytes) >>> 0 <= spanBytes)) return good;
      this.#scratch[good] = buffer;
    }
    return most;
  }

  /** Takes a packet that no hardware can send: counts it and gives its buffer back. */
  refuse(buffer: number): void {
    const { pool, countError } = this.#options;
    countError();
    pool.owners?.returned(buffer);
    if (buffer < pool.capacity) pool.free[pool.freeCount++] = buffer;
  }
}
