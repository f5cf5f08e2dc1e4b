/**
 * The server's side of interrupts: event descriptors and masks per vector, and what DEVICE_SET_IRQS does to them.
 *
 * A masked vector holds one pending interrupt and delivers it when unmasked. INTx masks itself when it fires, as
 * in the kernel's VFIO. Where the client gives an eventfd for the actions MASK and UNMASK, the client signals it and
 * the vector follows: the kernel's meaning, which QEMU relies on for the end of a level interrupt; the protocol's
 * text lets the server signal it instead, which nobody does.
 *
 * The client holds these counters too and decides with us whether a read or a write on one waits. So they are only
 * touched by calls that cannot wait (syscalls/event-counters.ts), and a descriptor that is no event counter is refused
 * before anything is done to it.
 */
import { constants } from 'node:os';
import { errnoText, NicError } from '../../errors.js';
import { closeFd, setBlocking, watchFd } from '../../syscalls/descriptors.js';
import {
  canReadWithoutWaiting,
  isEventfd,
  prepareSignals,
  readEventfd,
  signalEventfd,
  signalTrusted,
} from '../../syscalls/event-counters.js';
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

const { EINVAL, ENOTSUP } = constants.errno;
const DATA_MASK = IRQ_DATA_NONE | IRQ_DATA_BOOL | IRQ_DATA_EVENTFD;
const ACTION_MASK = IRQ_ACTION_MASK | IRQ_ACTION_UNMASK | IRQ_ACTION_TRIGGER;

function refused(text: string): NicError {
  return new NicError('INTERRUPTS', text, { errno: EINVAL });
}

function impossible(what: string): NicError {
  return new NicError('INTERRUPTS', `Interrupts of a client cannot be served: ${what}`, {
    errno: ENOTSUP,
    hint: 'For clients you trust not to stop this process they can: barewire emulate --trust-client.',
  });
}

export interface InterruptTableOptions {
  /** Reads and writes counters plainly where the kernel has no call that cannot wait. Default false. */
  readonly trustClient?: boolean;
  /** Told about interrupts that could not be signalled; they stay pending. */
  readonly onError?: (error: NicError) => void;
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
  readonly #options: InterruptTableOptions;
  /** What signals a counter; returns 0 or the errno. */
  readonly #signal: (fd: number) => number;

  /** @param counts vectors per interrupt index */
  constructor(counts: readonly number[], options: InterruptTableOptions = {}) {
    this.#indices = counts.map((count, index) => new Vectors(index, count));
    this.#options = options;
    this.#signal = prepareSignals() !== 0 && options.trustClient === true ? signalTrusted : signalEventfd;
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
    this.#fire(vectors, vector, fd);
  }

  #fire(vectors: Vectors, vector: number, fd: number): void {
    const errno = this.#signal(fd);
    vectors.pending[vector] = errno === 0 ? 0 : 1;
    if (errno === 0) {
      if ((vectors.flags & IRQ_FLAG_AUTOMASKED) !== 0) vectors.masked[vector] = 1;
    } else {
      const text = `An interrupt cannot be signalled: ${errnoText(errno)}`;
      this.#options.onError?.(new NicError('INTERRUPTS', text, { errno }));
    }
  }

  #unmask(vectors: Vectors, vector: number): void {
    vectors.masked[vector] = 0;
    const fd = vectors.eventfds[vector]!;
    if (vectors.pending[vector] !== 0 && fd >= 0) this.#fire(vectors, vector, fd);
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
      this.#setEvents(vectors, action, start, count, fds);
      return;
    }
    if (fds.length > 0) throw refused('Descriptors with data that are none');
    for (let i = 0; i < count; i++) {
      if (dataType === IRQ_DATA_BOOL && data[i] === 0) continue;
      if (action === IRQ_ACTION_TRIGGER) this.raise(index, start + i);
      else if (action === IRQ_ACTION_MASK) vectors.masked[start + i] = 1;
      else this.#unmask(vectors, start + i);
    }
  }

  #setEvents(vectors: Vectors, action: number, start: number, count: number, fds: number[]): void {
    if (fds.length !== 0 && fds.length !== count)
      throw refused(`${fds.length} descriptors for ${count} vectors`);
    this.#checkCounters(action, fds);
    const taken = fds.splice(0);
    for (let i = 0; i < count; i++) {
      const vector = start + i;
      const fd = taken[i];
      if (action !== IRQ_ACTION_TRIGGER) {
        const events = action === IRQ_ACTION_MASK ? vectors.maskEvents : vectors.unmaskEvents;
        unwatch(events, vector);
        if (fd !== undefined) events.set(vector, this.#watch(vectors, vector, action, fd));
      } else if (fd === undefined) {
        disconnect(vectors, vector);
      } else {
        const old = vectors.eventfds[vector]!;
        vectors.eventfds[vector] = fd;
        if (old >= 0) closeFd(old);
      }
    }
  }

  #checkCounters(action: number, fds: readonly number[]): void {
    if (fds.length === 0) return;
    if (!fds.every(isEventfd)) throw refused('A descriptor is not an eventfd');
    const errno = prepareSignals();
    if (errno === 0 && canReadWithoutWaiting()) return;
    if (this.#options.trustClient === true) {
      for (const fd of fds) setBlocking(fd, false);
    } else if (errno !== 0 && action === IRQ_ACTION_TRIGGER) {
      throw impossible(`the kernel has no asynchronous I/O for this process (${errnoText(errno)})`);
    } else if (!canReadWithoutWaiting() && action !== IRQ_ACTION_TRIGGER) {
      throw impossible('the kernel (before Linux 5.8) cannot read an eventfd without waiting');
    }
  }

  #watch(vectors: Vectors, vector: number, action: number, fd: number): Watched {
    const stop = watchFd(fd, { readable: true }, false, () => {
      if (readEventfd(fd) === 0) return;
      if (action === IRQ_ACTION_MASK) vectors.masked[vector] = 1;
      else this.#unmask(vectors, vector);
    });
    return { fd, stop };
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

/** A vector without an eventfd has no mask and nothing pending either. */
function disconnect(vectors: Vectors, vector: number): void {
  const fd = vectors.eventfds[vector]!;
  vectors.eventfds[vector] = -1;
  vectors.masked[vector] = 0;
  vectors.pending[vector] = 0;
  if (fd >= 0) closeFd(fd);
}

function unwatch(events: Map<number, Watched>, vector: number): void {
  const watched = events.get(vector);
  if (watched === undefined) return;
  events.delete(vector);
  watched.stop();
  closeFd(watched.fd);
}
