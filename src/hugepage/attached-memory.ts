/**
 * The memory of a pool that another thread of this process made. The I/O addresses are those that it was given there:
 * they are numbered once, and mapping is the other thread's.
 */
import { NicError } from '../errors.js';
import { viewMemory } from '../syscalls/memory.js';
import type { PoolTicket } from './pool-slices.js';

export class AttachedMemory {
  readonly ticket: PoolTicket;
  readonly buffer: ArrayBuffer;

  constructor(ticket: PoolTicket) {
    this.ticket = ticket;
    this.buffer = viewMemory(ticket.address, ticket.capacity * ticket.bufferSizeBytes + ticket.headroomBytes);
  }

  get shape() {
    const { capacity, bufferSizeBytes, headroomBytes } = this.ticket;
    return { buffers: capacity, bufferSizeBytes, headroomBytes, pageSize: 'auto', checks: false } as const;
  }

  get pageSizeBytes(): number {
    return this.ticket.pageSizeBytes;
  }

  get iovaLow(): number {
    return this.ticket.iovaLow;
  }

  get iovaHigh(): number {
    return this.ticket.iovaHigh;
  }

  mapInto(): never {
    throw new NicError('OWNERSHIP', 'The pool was made by another thread, which opens devices for it', {
      hint: 'Open all devices in one thread, and hand their queues to workers by shareWithThread.',
    });
  }

  unmapFrom(): void {}

  /** The memory is the other thread's. */
  close(): void {}
}
