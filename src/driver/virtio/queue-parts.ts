/** What receive and transmit queues work on, whatever kind of ring they have; and what the kinds have to give them. */
import type { RxQueue, TxQueue } from '../device.js';
import type { Doorbell } from '../register-file.js';

/** How a queue's device is told of what is new. */
interface Notified {
  readonly notify: Doorbell;
  /** Number of the queue: what is written to notify. */
  readonly queue: number;
  /** All ones where NOTIFICATION_DATA was accepted: the position goes beside the number. Else 0. */
  readonly dataMask: number;
  /** EVENT_IDX was accepted: each side says at which position it wants to be told. */
  readonly eventIdx: boolean;
}

interface QueueParts extends Notified {
  readonly state: Int32Array;
  /** Float64 slots: adding to them never allocates, however high they count. Elements as in LAYOUT. */
  readonly counters: Float64Array;
  /** Of the pool. */
  readonly free: Int32Array;
  readonly freeLevel: Int32Array;
  readonly lengths: Uint16Array;
  readonly size: number;
  readonly shift: number;
  /** I/O address of the header in front of buffer 0's frame. */
  readonly headerIovaLow: number;
  readonly iovaHigh: number;
  /** The array itself; throws where it is no Uint32Array. */
  readonly check: (bufs: Uint32Array) => Uint32Array;
}

export interface RxParts extends QueueParts {
  /** Buffer index of each descriptor. */
  readonly slots: Int32Array;
  /** The call of `receive` that gave a descriptor back: the device cannot have used it again in the same one. */
  readonly calls: Int32Array;
  /** Longest frame. */
  readonly maxBytes: number;
  /** Goes on where the loop met what is no good frame: `received` packets of at most `limit` are in `bufs`. */
  readonly receiveRest: (bufs: Uint32Array, limit: number, received: number) => number;
}

/** What the next used descriptor of a receive ring is. */
export const Found = {
  NOTHING: 0,
  /** `id` and `writtenBytes` say more. */
  DESCRIPTOR: 1,
  /** Not one that the device can have; the ring can go on behind it. */
  FALSE: 2,
  /** The device broke the ring. */
  BROKEN: 3,
} as const;

/** A ring that packets are received into. All descriptors are the device's, but for the moment in which one is handed out. */
export interface RxRing {
  readonly receive: RxQueue['receive'];
  readonly pending: boolean;
  /** Of the descriptor that `look` found. */
  readonly id: number;
  readonly writtenBytes: number;
  /** Gives every descriptor to the device, each with its buffer. */
  fill(): void;
  /** Looks at the next used descriptor; one of `Found`. */
  look(): number;
  /** Goes past what `look` found, and gives that descriptor back with this buffer. */
  giveBack(buffer: number): void;
  /** Goes past what is false. */
  pass(): void;
  /** The device runs: it is told of all descriptors. */
  announce(): void;
  /** Tells the device of what it was given back, once for all. */
  publish(): void;
  /** The device is to interrupt at the next packet, or not. */
  setInterrupts(on: boolean): void;
  /** Makes `receive` go to `receiveRest`, also one that was kept from before. */
  seal(): void;
}

export interface TxParts extends QueueParts {
  /** Buffer index of each descriptor; -1 where the device has none. */
  readonly slots: Int32Array;
  /** The pool's memory as words, for headers. */
  readonly words: Int32Array;
  /** In `words`: the header in front of buffer 0's frame. */
  readonly headerWord: number;
  readonly capacity: number;
  /** Shortest frame, and how much longer the longest is. */
  readonly minBytes: number;
  readonly spanBytes: number;
  readonly reclaim: () => void;
  /** The device said what cannot be. */
  readonly lied: () => void;
  /** Goes on where the loop met what is no usual call, or a packet that no hardware can send: `sent` are queued. */
  readonly sendRest: (bufs: Uint32Array, count: number, start: number | undefined, sent: number) => number;
}

/** A ring that packets are sent from. `state[FREE]` descriptors are free. */
export interface TxRing {
  readonly send: TxQueue['send'];
  /** Free descriptors: a stack (split), or the one that belongs to each place (packed). */
  readonly ids: Int32Array;
  /** Takes back what the device is done with. */
  readonly reclaim: () => void;
  /** Queues one packet, whose header has been written; there is room. A device that looks by itself may see it. */
  put(buffer: number, lengthBytes: number): void;
  /** Shows the device what was put, and tells it if it wants to be told. */
  publish(): void;
  /** Packets that the device has not used, where another thread drives the ring with this state. */
  unused(state: Int32Array): number;
  /** Makes `send` ask `reclaim` before anything else and find no room, also one that was kept from before. */
  seal(): void;
}

/** What a loop works on that receives from one ring and sends on another. */
export interface ForwardParts {
  readonly rx: RxParts;
  readonly tx: TxParts;
  /** As of the transmit ring. */
  readonly ids: Int32Array;
  readonly memory: Uint8Array;
  readonly batch: number;
  readonly touch: boolean;
  /** Longest frame that both queues take. */
  readonly maxBytes: number;
  /** Receives and sends the long way, at most so many packets; returns how many were received. */
  readonly general: (max: number) => number;
}
