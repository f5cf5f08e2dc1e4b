/** What another thread needs to drive a ring of this process, and how it comes there: addresses, sizes, shared state. */
import { addressOf, viewMemory } from '../../syscalls/memory.js';
import { type AttachedRing, QueueElsewhere } from '../queue-share.js';
import { DESCRIPTOR_BYTES } from './descriptors.js';
import type { RxMetadataBits } from './rx-queue.js';

/** Plain data: all but the arrays' memory, which is shared, is copied on the way. */
interface RingTicket {
  /** Virtual address of the ring, and its number of descriptors. */
  readonly ring: bigint;
  readonly size: number;
  /** Elements as in LAYOUT; both threads see them. */
  readonly state: Int32Array;
  readonly counters: Float64Array;
  /** Virtual address of the tail register. */
  readonly tail: bigint;
  readonly maxFrameBytes: number;
}

export interface RxTicket extends RingTicket {
  /** Buffer of each slot. */
  readonly slots: Int32Array;
  readonly errorMask: number;
  readonly metadata: RxMetadataBits | undefined;
}

export interface TxTicket extends RingTicket {
  /** Legacy descriptors. */
  readonly legacy: boolean;
  /** What `sendOffloaded` does. */
  readonly offloads: number;
  /** See `IntelTxQueueOptions`. */
  readonly mayRest: boolean;
}

/** A ring that another thread has, seen from the thread that opened its device. */
export class RingHandOver extends QueueElsewhere {
  readonly ticket: Omit<RingTicket, 'tail' | 'maxFrameBytes'>;

  constructor(loop: AttachedRing & { readonly ring: Int32Array }) {
    super(loop);
    const { ring } = loop;
    this.ticket = {
      ring: addressOf(new Uint8Array(ring.buffer, ring.byteOffset, ring.byteLength)),
      size: ring.byteLength / DESCRIPTOR_BYTES,
      state: this.state,
      counters: this.counters,
    };
  }
}

/** Views over the ring and its tail register. */
export function viewRing({ ring, size, tail }: RingTicket): { ring: Int32Array; tail: Uint32Array } {
  return {
    ring: new Int32Array(viewMemory(ring, size * DESCRIPTOR_BYTES)),
    tail: new Uint32Array(viewMemory(tail, 4)),
  };
}
