/**
 * Interrupt vectors as event counters: one eventfd a vector, connected as MSI-X (or MSI, where a device has only
 * that) in one request. A port sleeps on one of them when it has been idle, and polls otherwise (driver/wait.ts).
 * A message signalled interrupt is a write by the device: without bus mastering none arrives.
 *
 * Specification: include/uapi/linux/vfio.h, VFIO_DEVICE_SET_IRQS; eventfd(2).
 */
import { NicError } from '../errors.js';
import { type KernelApi, realKernel } from './kernel-api.js';
import { PciIrq, type VfioDevice } from './types.js';

export interface InterruptOptions {
  /** `PciIrq.MSIX` (default), `PciIrq.MSI` or `PciIrq.INTX`. */
  readonly index?: number;
  readonly kernel?: Pick<KernelApi, 'eventfd' | 'readEventfd' | 'onReadable' | 'close'>;
}

export interface InterruptWaitOptions {
  /** Longest time to wait; without it there is no end. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** setTimeout's longest delay: 24.8 days. */
const FOREVER_MS = 0x7fff_ffff;

interface Vector {
  readonly fd: number;
  readonly listeners: Set<(count: number) => void>;
  /** Interrupts that came while nobody waited or listened. */
  pending: number;
  stopWatching: (() => void) | undefined;
  /** Ends the current `wait` with this count. */
  wake: ((count: number) => void) | undefined;
}

/**
 * The connected vectors of a device.
 *
 * @example
 * const interrupts = new Interrupts(device, 1);
 * enableReceiveInterrupt();
 * await interrupts.wait(0, { timeoutMs: 100 });
 */
export class Interrupts {
  readonly #device: VfioDevice;
  readonly #index: number;
  readonly #kernel: Pick<KernelApi, 'eventfd' | 'readEventfd' | 'onReadable' | 'close'>;
  readonly #vectors: Vector[] = [];
  #closed = false;

  /**
   * Makes `count` event counters and connects them to vectors 0..count-1.
   * @throws NicError `INTERRUPTS` where the device has fewer vectors or the kernel refuses
   */
  constructor(device: VfioDevice, count: number, options: InterruptOptions = {}) {
    this.#device = device;
    this.#index = options.index ?? PciIrq.MSIX;
    this.#kernel = options.kernel ?? realKernel;
    try {
      for (let i = 0; i < count; i++) this.#vectors.push(newVector(this.#kernel.eventfd()));
      const fds = this.#vectors.map(({ fd }) => fd);
      device.setIrqEventfds(this.#index, fds);
    } catch (error) {
      for (const { fd } of this.#vectors) this.#kernel.close(fd);
      throw error;
    }
  }

  get count(): number {
    return this.#vectors.length;
  }

  /**
   * Calls `listener` with the number of interrupts each time the vector fires, until the returned function is called.
   * Does not keep the process alive.
   */
  onInterrupt(vector: number, listener: (count: number) => void): () => void {
    const state = this.#vector(vector);
    // A wrapper, so that one function added twice is two listeners.
    const entry = (count: number) => listener(count);
    state.listeners.add(entry);
    this.#watch(state);
    return () => state.listeners.delete(entry);
  }

  /**
   * Waits for the vector to fire. Interrupts since the last `wait` or `drain` count: it then returns at once.
   * Resolves with their number; 0 after the timeout, an abort, or `close`. Keeps the process alive. One wait a vector.
   * @throws NicError `INTERRUPTS` where the vector does not exist or is being waited for; `CLOSED`
   */
  async wait(vector: number, options: InterruptWaitOptions = {}): Promise<number> {
    const state = this.#vector(vector);
    if (state.wake !== undefined) {
      throw new NicError('INTERRUPTS', `Vector ${vector} of ${this.#device.address} is being waited for`);
    }
    const already = this.drain(vector);
    const { signal } = options;
    if (already > 0 || signal?.aborted === true) return already;
    this.#watch(state);
    return new Promise((resolve) => {
      const wake = (count: number) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
        state.wake = undefined;
        resolve(count);
      };
      const giveUp = () => wake(0);
      const timer = setTimeout(giveUp, Math.min(options.timeoutMs ?? FOREVER_MS, FOREVER_MS));
      signal?.addEventListener('abort', giveUp);
      state.wake = wake;
    });
  }

  /** Takes the interrupts that have come so far, without waiting; returns their number. */
  drain(vector: number): number {
    const state = this.#vector(vector);
    const count = state.pending + this.#kernel.readEventfd(state.fd);
    state.pending = 0;
    return count;
  }

  /** Disconnects the vectors, ends all waits with 0, closes the counters. May be called twice, or after the device. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#device.disableIrqs(this.#index);
    } catch (error) {
      // The device may be closed already, which disconnected them; the counters are ours in any case.
      if (!(error instanceof NicError)) throw error;
    } finally {
      for (const state of this.#vectors) {
        state.stopWatching?.();
        state.listeners.clear();
        state.wake?.(0);
        this.#kernel.close(state.fd);
      }
    }
  }

  #vector(vector: number): Vector {
    if (this.#closed) throw new NicError('CLOSED', `The interrupts of ${this.#device.address} are closed`);
    const state = this.#vectors[vector];
    if (state !== undefined) return state;
    throw new NicError(
      'INTERRUPTS',
      `${this.#device.address} has no connected vector ${vector} (there are ${this.count})`,
    );
  }

  /** The watch stays on: setting one up costs more than a wake-up, and a quiet vector costs nothing. */
  #watch(state: Vector): void {
    state.stopWatching ??= this.#kernel.onReadable(state.fd, () => {
      const count = this.#kernel.readEventfd(state.fd);
      if (count === 0) return;
      if (state.wake === undefined && state.listeners.size === 0) state.pending += count;
      for (const listener of [...state.listeners]) listener(count);
      state.wake?.(count);
    });
  }
}

function newVector(fd: number): Vector {
  return { fd, listeners: new Set(), pending: 0, stopWatching: undefined, wake: undefined };
}
