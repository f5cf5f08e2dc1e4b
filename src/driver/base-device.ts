/**
 * What all devices have in common, whatever their hardware: waits that end at close, the layer for those who do not
 * count nanoseconds, how a device prints, and what ends it. A family extends it.
 */
import { setMaxListeners } from 'node:events';
import { inspect } from 'node:util';
import { NicError } from '../errors.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import { describeValue } from '../options.js';
import { formatMac } from '../packet/addresses.js';
import type {
  DeviceCapabilities,
  DeviceLimits,
  LinkState,
  NetDevice,
  NetStats,
  QueueStats,
  Queues,
  RxQueue,
  TxQueue,
  WaitOptions,
} from './device.js';
import { waitForAny } from './packet-wait.js';
import { queuesHere } from './queue-share.js';
import { checkWait, until } from './until.js';

const LINK_LOOK_MS = 10;
const SEND_TIMEOUT_MS = 1000;

export abstract class BaseDevice implements NetDevice {
  abstract readonly address: string;
  abstract readonly driver: string;
  abstract readonly model: string;
  abstract readonly pool: PacketPool;
  abstract readonly rxQueues: Queues<RxQueue>;
  abstract readonly txQueues: Queues<TxQueue>;
  abstract readonly limits: DeviceLimits;
  abstract readonly capabilities: DeviceCapabilities;
  abstract readonly maxFrameBytes: number;
  abstract readonly mac: Uint8Array;
  abstract linkState(): LinkState;
  abstract setPromiscuous(on: boolean): Promise<void>;
  abstract setMac(mac: Uint8Array): Promise<void>;
  abstract setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void>;
  abstract stats(): NetStats;
  abstract queueStats(): readonly QueueStats[];
  abstract onGone(listener: (error: Error) => void): () => void;
  /** True where every queued frame has left. */
  protected abstract isDrained(): boolean;
  /** Stops and gives everything back. Called once. */
  protected abstract shutDown(): Promise<void>;

  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;

  constructor() {
    // Each wait listens: more than Node.js takes for a leak are usual.
    setMaxListeners(0, this.#closed.signal);
  }

  get macAddress(): string {
    return formatMac(this.mac);
  }

  /** Aborted when the device begins to close; its reason is a NicError `CLOSED`. */
  protected get closed(): AbortSignal {
    return this.#closed.signal;
  }

  async waitForLink(options: WaitOptions = {}): Promise<LinkState> {
    checkWait(options);
    const look = (): LinkState | undefined => {
      const state = this.linkState();
      return state.up ? state : undefined;
    };
    const found = await until(look, { ...options, everyMs: LINK_LOOK_MS, closed: this.closed });
    return found ?? this.linkState();
  }

  async waitForPackets(options: WaitOptions = {}): Promise<boolean> {
    checkWait(options);
    this.closed.throwIfAborted();
    return waitForAny(queuesHere(this.rxQueues), options);
  }

  async drain(options: WaitOptions = {}): Promise<boolean> {
    checkWait(options);
    const look = (): true | undefined => (this.isDrained() ? true : undefined);
    return (await until(look, { ...options, closed: this.closed })) ?? false;
  }

  async sendFrame(frame: Uint8Array, options: WaitOptions = {}): Promise<void> {
    checkWait(options);
    const { minFrameBytes } = this.limits;
    const { maxFrameBytes, pool } = this;
    if (!(frame instanceof Uint8Array) || frame.length < minFrameBytes || frame.length > maxFrameBytes) {
      const what = frame instanceof Uint8Array ? `${frame.length} bytes long` : describeValue(frame);
      throw new NicError('BAD_ARGUMENT', `The frame is ${what}; ${this.address} cannot send that`, {
        hint: `Give a Uint8Array of ${minFrameBytes} to ${maxFrameBytes} bytes, from the destination address on, without FCS.`,
      });
    }
    const [queue] = queuesHere(this.txQueues) as readonly [TxQueue];
    const one = new Uint32Array(1);
    const { timeoutMs = SEND_TIMEOUT_MS } = options;
    const got = await until(
      () => {
        if (pool.allocate(one, 1) === 1) return true;
        queue.reclaim();
        return pool.allocate(one, 1) === 1 ? true : undefined;
      },
      { ...options, timeoutMs, closed: this.closed },
    );
    if (got === undefined) throw this.#noRoom('No buffer of the pool came free', timeoutMs);
    let taken: true | undefined;
    try {
      pool.bytes(one[0]!).set(frame);
      pool.lengths[one[0]!] = frame.length;
      const look = (): true | undefined => (queue.send(one, 1) === 1 ? true : undefined);
      taken = await until(look, { ...options, timeoutMs, closed: this.closed });
    } finally {
      if (taken === undefined) this.#giveBack(one);
    }
    if (taken === undefined) throw this.#noRoom('The transmit ring stayed full', timeoutMs);
  }

  async *frames(options: { readonly signal?: AbortSignal } = {}): AsyncIterableIterator<Uint8Array> {
    checkWait(options);
    const { signal } = options;
    const { pool } = this;
    const one = new Uint32Array(1);
    const ended = (): boolean => signal?.aborted === true || this.closed.aborted;
    while (!ended()) {
      let found = false;
      for (const queue of queuesHere(this.rxQueues)) {
        // One at a time: a loop that breaks off leaves the others in the ring, for the next one.
        if (queue.receive(one) === 0) continue;
        found = true;
        const [packet] = one as unknown as [number];
        // Copied before anything else runs, so that no buffer is out while the caller takes its time.
        const copy = pool.bytes(packet).slice(0, pool.lengths[packet]);
        pool.release(one, 1);
        yield copy;
        if (ended()) return;
      }
      if (found) continue;
      try {
        await this.waitForPackets({ signal });
      } catch (error) {
        if (ended()) return;
        throw error;
      }
    }
  }

  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#closed.abort(this.closedError());
      this.#closing = this.shutDown();
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  protected closedError(): NicError {
    return new NicError('CLOSED', `${this.address} is closed`, {
      path: this.address,
      hint: 'Stop polling before close(), or open the device again.',
    });
  }

  /** The device may have been closed meanwhile, and an own pool with it. */
  #giveBack(one: Uint32Array): void {
    try {
      this.pool.release(one, 1);
    } catch (error) {
      if (!this.closed.aborted) throw error;
    }
  }

  #noRoom(what: string, timeoutMs: number): NicError {
    return new NicError('DEVICE_TIMEOUT', `${this.address}: ${what} within ${timeoutMs} ms`, {
      path: this.address,
      hint: 'Look at linkState(): a port without a link sends nothing.',
    });
  }

  /** What `console.log` prints. */
  [inspect.custom](): string {
    const state = this.closed.aborted ? 'closed' : describeLink(this.#linkOrNone());
    const rx = this.rxQueues.map(({ size }) => size).join('+');
    const tx = this.txQueues.map(({ size }) => size).join('+');
    return [
      `${this.address}: ${this.model} (${this.driver}), ${this.macAddress}, ${state}`,
      `  rings: receive ${rx}, transmit ${tx}; frames up to ${this.maxFrameBytes} bytes`,
      `  pool: ${this.pool.available} of ${this.pool.capacity} buffers free, ${this.pool.bufferSizeBytes} bytes each`,
    ].join('\n');
  }

  #linkOrNone(): LinkState | undefined {
    try {
      return this.linkState();
    } catch {
      // A device that does not answer must not break a log line.
      return undefined;
    }
  }
}

function describeLink(link: LinkState | undefined): string {
  if (link === undefined) return 'does not answer';
  if (!link.up) return 'no link';
  if (link.speedMbps === 0) return 'link of unknown speed';
  return `link ${link.speedMbps} Mbit/s ${link.fullDuplex ? 'full' : 'half'} duplex`;
}
