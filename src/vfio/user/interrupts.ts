/**
 * The server's side of interrupts: event descriptors and masks per vector, and what DEVICE_SET_IRQS does to them.
 *
 * A masked vector holds one pending interrupt and delivers it when unmasked. INTx masks itself when it fires, as
 * in the kernel's VFIO. Where the client gives an eventfd for the actions MASK and UNMASK, the client signals it and
 * the vector follows: the kernel's meaning, which QEMU relies on for the end of a level interrupt; the protocol's
 * text lets the server signal it instead, which nobody does.
 */
import { readlinkSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { NicError } from '../../errors.js';
import { setBlocking, watchFd } from '../../syscalls/descriptors.js';
import { PciIrq } from '../types.js';
import {
  IRQ_ACTION_MASK,
  IRQ_ACTION_TRIGGER,
  IRQ_ACTION_UNMASK,
  IRQ_DATA_BOOL,
  IRQ_DATA_EVENTFD,
  IRQ_DATA_NONE,
  IRQ_FLAG_AUTOMASKED,
  IRQ_FLAG_EVENTFD,
  IRQ_FLAG_MASKABLE,
  type SetIrqs,
} from './protocol.js';
import { closeFds } from './socket.js';

const { EINVAL } = constants.errno;
const DATA_MASK = IRQ_DATA_NONE | IRQ_DATA_BOOL | IRQ_DATA_EVENTFD;
const ACTION_MASK = IRQ_ACTION_MASK | IRQ_ACTION_UNMASK | IRQ_ACTION_TRIGGER;

/** Adds 1 to an eventfd. */
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);
const eventCount = new Uint8Array(8);

function refused(text: string): NicError {
  return new NicError('INTERRUPTS', text, { errno: EINVAL });
}

/** An eventfd that the client signals to mask or unmask a vector. */
interface Watched {
  readonly fd: number;
  readonly stop: () => void;
}

class Vectors {
  readonly eventfds: Int32Array;
  readonly masked: Uint8Array;
  readonly pending: Uint8Array;
  readonly maskEvents = new Map<number, Watched>();
  readonly unmaskEvents = new Map<number, Watched>();
  readonly flags: number;

  constructor(index: number, count: number) {
    this.eventfds = new Int32Array(count).fill(-1);
    this.masked = new Uint8Array(count);
    this.pending = new Uint8Array(count);
    const maskable = index <= PciIrq.MSIX ? IRQ_FLAG_MASKABLE : 0;
    this.flags = IRQ_FLAG_EVENTFD | maskable | (index === PciIrq.INTX ? IRQ_FLAG_AUTOMASKED : 0);
  }

  get count(): number {
    return this.eventfds.length;
  }
}

export class InterruptTable {
  readonly #indices: readonly Vectors[];

  /** @param counts vectors per interrupt index */
  constructor(counts: readonly number[]) {
    this.#indices = counts.map((count, index) => new Vectors(index, count));
  }

  get indexCount(): number {
    return this.#indices.length;
  }

  /** @throws NicError with the errno to answer with */
  info(index: number): { flags: number; count: number } {
    const vectors = this.#indices[index];
    if (vectors === undefined) throw refused(`There is no interrupt index ${index}`);
    return { flags: vectors.flags, count: vectors.count };
  }

  /** Fires the vector, or remembers it while masked; nothing where no eventfd is connected. */
  raise(index: number, vector: number): void {
    const vectors = this.#indices[index];
    const fd = vectors?.eventfds[vector];
    if (vectors === undefined || fd === undefined || fd < 0) return;
    if (vectors.masked[vector] !== 0) {
      vectors.pending[vector] = 1;
      return;
    }
    if ((vectors.flags & IRQ_FLAG_AUTOMASKED) !== 0) vectors.masked[vector] = 1;
    signal(fd);
  }

  /**
   * Does what DEVICE_SET_IRQS says. Takes what it keeps out of `fds`.
   * @throws NicError with the errno to answer with
   */
  set(request: SetIrqs, fds: number[]): void {
    const { index, start, count, data } = request;
    const vectors = this.#indices[index];
    if (vectors === undefined) throw refused(`There is no interrupt index ${index}`);
    const { dataType, action } = checkFlags(request.flags, index);
    if (count === 0) {
      if (start !== 0 || dataType !== IRQ_DATA_NONE || action !== IRQ_ACTION_TRIGGER) {
        throw refused('Only a trigger without data can have no vectors');
      }
      this.#disable(vectors);
      return;
    }
    if (start + count > vectors.count) {
      throw refused(
        `Vectors ${start} to ${start + count - 1} of ${vectors.count} of interrupt index ${index}`,
      );
    }
    if (data.length !== (dataType === IRQ_DATA_BOOL ? count : 0)) {
      throw refused(`${data.length} bytes of data for ${count} vectors`);
    }
    if (dataType === IRQ_DATA_EVENTFD) {
      setEvents(vectors, action, start, count, fds);
      return;
    }
    if (fds.length > 0) throw refused('Descriptors with data that are none');
    for (let i = 0; i < count; i++) {
      if (dataType === IRQ_DATA_BOOL && data[i] === 0) continue;
      if (action === IRQ_ACTION_TRIGGER) this.raise(index, start + i);
      else if (action === IRQ_ACTION_MASK) vectors.masked[start + i] = 1;
      else unmask(vectors, start + i);
    }
  }

  /** Disconnects everything. */
  clear(): void {
    for (const vectors of this.#indices) this.#disable(vectors);
  }

  #disable(vectors: Vectors): void {
    for (let vector = 0; vector < vectors.count; vector++) {
      disconnect(vectors, vector);
      unwatch(vectors.maskEvents, vector);
      unwatch(vectors.unmaskEvents, vector);
    }
  }
}

function checkFlags(flags: number, index: number): { dataType: number; action: number } {
  const dataType = flags & DATA_MASK;
  const action = flags & ACTION_MASK;
  const isOneBit = (bits: number) => bits !== 0 && (bits & (bits - 1)) === 0;
  if (!isOneBit(dataType) || !isOneBit(action) || flags !== (dataType | action)) {
    throw refused(`DEVICE_SET_IRQS with flags 0x${flags.toString(16)}`);
  }
  if (index > PciIrq.MSIX && action !== IRQ_ACTION_TRIGGER) {
    throw refused(`Interrupt index ${index} cannot be masked`);
  }
  return { dataType, action };
}

function setEvents(vectors: Vectors, action: number, start: number, count: number, fds: number[]): void {
  if (fds.length !== 0 && fds.length !== count)
    throw refused(`${fds.length} descriptors for ${count} vectors`);
  for (const fd of fds) {
    if (!isEventfd(fd)) throw refused('A descriptor is not an eventfd');
    // one that counted to its end must not stop the server
    setBlocking(fd, false);
  }
  const taken = fds.splice(0);
  for (let i = 0; i < count; i++) {
    const vector = start + i;
    const fd = taken[i];
    if (action !== IRQ_ACTION_TRIGGER) {
      const events = action === IRQ_ACTION_MASK ? vectors.maskEvents : vectors.unmaskEvents;
      unwatch(events, vector);
      if (fd !== undefined) events.set(vector, watch(vectors, vector, action, fd));
    } else if (fd === undefined) {
      disconnect(vectors, vector);
    } else {
      const old = vectors.eventfds[vector]!;
      vectors.eventfds[vector] = fd;
      if (old >= 0) closeFds([old]);
    }
  }
}

/** A vector without an eventfd has no mask and nothing pending either. */
function disconnect(vectors: Vectors, vector: number): void {
  const fd = vectors.eventfds[vector]!;
  vectors.eventfds[vector] = -1;
  vectors.masked[vector] = 0;
  vectors.pending[vector] = 0;
  if (fd >= 0) closeFds([fd]);
}

function unmask(vectors: Vectors, vector: number): void {
  vectors.masked[vector] = 0;
  if (vectors.pending[vector] === 0) return;
  vectors.pending[vector] = 0;
  if ((vectors.flags & IRQ_FLAG_AUTOMASKED) !== 0) vectors.masked[vector] = 1;
  signal(vectors.eventfds[vector]!);
}

function watch(vectors: Vectors, vector: number, action: number, fd: number): Watched {
  const stop = watchFd(fd, { readable: true }, false, () => {
    try {
      readSync(fd, eventCount);
    } catch {
      return;
    }
    if (action === IRQ_ACTION_MASK) vectors.masked[vector] = 1;
    else unmask(vectors, vector);
  });
  return { fd, stop };
}

function unwatch(events: Map<number, Watched>, vector: number): void {
  const watched = events.get(vector);
  if (watched === undefined) return;
  events.delete(vector);
  watched.stop();
  closeFds([watched.fd]);
}

function signal(fd: number): void {
  if (fd < 0) return;
  try {
    writeSync(fd, ONE);
  } catch {
    // EAGAIN: the counter is at its end, so the client has an interrupt to see anyway
  }
}

function isEventfd(fd: number): boolean {
  return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
}
