/**
 * The loop that forwards between any two queues of one pool: `receive`, the hook, `send`. A factory for `instantiate`: it
 * uses nothing of its module but types.
 */
import type { PacketHook } from '../driver/queue-link.js';
import type { PacketPool } from '../hugepage/packet-pool.js';

export interface GeneralLoop {
  readonly receive: (bufs: Uint32Array, max: number) => number;
  readonly send: (bufs: Uint32Array, count: number) => number;
  readonly reclaim: () => void;
  readonly pool: PacketPool;
  readonly bufs: Uint32Array;
  /** Of the pool. */
  readonly frames: Uint8Array;
  readonly lengths: Uint16Array;
  readonly freeLevel: Int32Array;
  readonly shift: number;
  readonly touch: boolean;
  /** Null where there is none: the engine compiles null in as a constant, undefined not. */
  readonly onPacket: PacketHook | null;
  /** See `LinkOptions.dropped`; in element 1, 1 is a hook that runs and 2 packets that wait, `bufs[0]` to `bufs[dropped[2] - 1]`. */
  readonly dropped: Float64Array;
  /** Throws: the hook called the forwarder that calls it. */
  readonly throwNested: () => void;
}

/** Makes a function that moves at most `max` packets and returns how many were received. */
export function makeGeneral(_layout: null, loop: GeneralLoop): (max: number) => number {
  const { receive, send, reclaim, pool, bufs, frames, lengths, freeLevel, shift } = loop;
  const { touch, onPacket, dropped, throwNested } = loop;

  /**
   * Shows the packets to the hook, gives back those that it drops, sends the others and returns how many the hook has seen. A
   * hook that throws leaves its packet and those behind it in `bufs` for the next call.
   */
  function show(hook: PacketHook, count: number): number {
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
      const left = count - next;
      dropped[1] = left > 0 ? 2 : 0;
      dropped[2] = left;
      try {
        transmit(kept);
      } finally {
        if (left > 0) bufs.copyWithin(0, next, count);
      }
    }
    return next;
  }

  /** Sends the first packets of `bufs`, and gives back what the ring does not take: it is full, or its device is closed. */
  function transmit(count: number): void {
    let sent = 0;
    try {
      sent = send(bufs, count);
    } finally {
      if (sent < count) {
        pool.release(bufs, count - sent, sent);
        dropped[0]! += count - sent;
      }
    }
  }

  return function general(max: number): number {
    if (onPacket !== null && dropped[1] !== 0) {
      if (dropped[1] === 1) throwNested();
      return show(onPacket, dropped[2]!);
    }
    let received = receive(bufs, max);
    if (received === 0) {
      // Without a free buffer nothing is received, so nothing is sent, and `send` would be what takes back those that the
      // hardware is done with.
      if (freeLevel[0] !== 0) return 0;
      reclaim();
      if (freeLevel[0] === 0) return 0;
      received = receive(bufs, max);
      if (received === 0) return 0;
    }
    if (onPacket !== null) return show(onPacket, received);
    if (touch) {
      for (let i = 0; i < received; i++) {
        const start = bufs[i]! << shift;
        frames[start] = frames[start]!;
      }
    }
    transmit(received);
    return received;
  };
}
