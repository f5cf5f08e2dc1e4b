/**
 * The loop that forwards between any two queues of one pool: `receive`, the hook, `send`. A factory for `instantiate`: it
 * uses nothing of its module but types.
 */
import type { PacketHook } from '../driver/queue-link.js';
import type { PacketPool } from '../hugepage/packet-pool.js';

export interface GeneralLoop {
  readonly receive: (bufs: Uint32Array, max: number) => number;
  readonly send: (bufs: Uint32Array, count: number) => number;
  readonly pool: PacketPool;
  readonly bufs: Uint32Array;
  /** Of the pool. */
  readonly frames: Uint8Array;
  readonly lengths: Uint16Array;
  readonly shift: number;
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /** Element 0 counts; element 1 is 1 while the hook runs. */
  readonly dropped: Float64Array;
  /** Throws: the hook called the forwarder that calls it. */
  readonly throwNested: () => void;
}

/** Makes a function that moves at most `max` packets and returns how many were received. */
export function makeGeneral(_layout: null, loop: GeneralLoop): (max: number) => number {
  const { receive, send, pool, bufs, frames, lengths, shift, touch, onPacket, dropped, throwNested } = loop;

  /** Shows the packets to the hook, gives back those that it drops, and returns how many are left. */
  function filter(hook: PacketHook, count: number): number {
    let kept = 0;
    let next = 0;
    dropped[1] = 1;
    try {
      while (next < count) {
        const packet = bufs[next]!;
        const lengthBytes = hook(packet, lengths[packet]!);
        next++;
        if (lengthBytes === 0) {
          pool.release(bufs, 1, next - 1);
          dropped[0]! += 1;
        } else {
          // The lengths have 16 bits. A length over 65,535 is stored as 0, which `send` refuses.
          lengths[packet] = lengthBytes > 0 && lengthBytes <= 0xffff ? lengthBytes : 0;
          bufs[kept++] = packet;
        }
      }
    } finally {
      dropped[1] = 0;
      // A hook that throws ends the batch: nobody has its packets any more.
      if (next < count) {
        pool.release(bufs, count - next, next);
        pool.release(bufs, kept);
        dropped[0]! += count - next + kept;
      }
    }
    return kept;
  }

  return function general(max: number): number {
    if (onPacket !== null && dropped[1] !== 0) throwNested();
    const received = receive(bufs, max);
    if (received === 0) return 0;
    let count = received;
    if (touch) {
      for (let i = 0; i < received; i++) {
        const start = bufs[i]! << shift;
        frames[start] = frames[start]!;
      }
    }
    if (onPacket !== null) count = filter(onPacket, received);
    let sent = 0;
    try {
      sent = send(bufs, count);
    } finally {
      // The ring is full, or the device that sends is closed.
      if (sent < count) {
        pool.release(bufs, count - sent, sent);
        dropped[0]! += count - sent;
      }
    }
    return received;
  };
}
