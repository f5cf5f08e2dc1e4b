/** What another thread needs to drive a virtqueue of this process, and how it comes there. */
import { addressOf, viewMemory } from '../../syscalls/memory.js';
import { doorbellAddress, QueueElsewhere } from '../queue-share.js';
import type { Doorbell } from '../register-file.js';
import { type Ring, viewRing } from './layout.js';
import type { RxParts, TxParts } from './queue-parts.js';

/** Plain data: all but the arrays' memory, which is shared, is copied on the way. */
interface RingTicket {
  readonly kind: Ring['kind'];
  readonly size: number;
  /** Virtual address of the memory that the rings of the device are in, its size, and where in it the areas of this ring are. */
  readonly base: bigint;
  readonly sizeBytes: number;
  readonly areas: Ring['areas'];
  /** Virtual address of where it is notified. */
  readonly notify: bigint;
  readonly notifiesData: boolean;
  readonly queue: number;
  readonly eventIdx: boolean;
  readonly maxFrameBytes: number;
  /** Elements as in LAYOUT; both threads see them. */
  readonly state: Int32Array;
  readonly counters: Float64Array;
}

export interface RxTicket extends RingTicket {
  /** Buffer of each descriptor. */
  readonly slots: Int32Array;
  readonly merges: boolean;
  readonly metadata: boolean;
}

export interface TxTicket extends RingTicket {
  readonly minFrameBytes: number;
  readonly offloads: boolean;
}

/** A virtqueue that another thread has. */
export class VirtqueueElsewhere extends QueueElsewhere {
  readonly ticket: RingTicket;

  /** @throws NicError `BAD_OPTION` where the doorbell is not mapped */
  constructor(ring: Ring, parts: RxParts | TxParts, maxFrameBytes: number) {
    super(parts);
    const { kind, size, areas } = ring;
    const { buffer } = ring.descriptors;
    this.ticket = {
      ...{ kind, size, areas, maxFrameBytes, state: this.state, counters: this.counters },
      ...{ base: addressOf(new Uint8Array(buffer)), sizeBytes: buffer.byteLength },
      ...{ notify: doorbellAddress(parts.notify), notifiesData: parts.dataMask !== 0 },
      ...{ queue: parts.queue, eventIdx: parts.eventIdx },
    };
  }
}

/** Views over the ring and its doorbell. */
export function viewQueue(ticket: RingTicket): { readonly ring: Ring; readonly notify: Doorbell } {
  const { kind, base, sizeBytes, size, areas, notify, notifiesData } = ticket;
  const bell = viewMemory(notify, notifiesData ? 4 : 2);
  return {
    ring: viewRing(kind, viewMemory(base, sizeBytes), size, areas),
    notify: notifiesData ? new Uint32Array(bell) : new Uint16Array(bell),
  };
}
