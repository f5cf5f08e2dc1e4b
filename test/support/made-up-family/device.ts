/**
 * Driver of the MU-5: a family as it would stand in `src/driver/`, with everything that none of the others has. Filters
 * change by mail, so they are asynchronous; there is no VFIO, and there are no counters on the wire.
 */
import { BaseDevice } from '../../../src/driver/base-device.js';
import type {
  DeviceCapabilities,
  DeviceLimits,
  LinkState,
  NetStats,
  OpenOptions,
  QueueStats,
  Queues,
} from '../../../src/driver/device.js';
import {
  type DeviceSettings,
  deviceSettings,
  multicastGroups,
  stationAddress,
} from '../../../src/driver/options.js';
import { until } from '../../../src/driver/until.js';
import { NicError } from '../../../src/errors.js';
import { DmaRegion } from '../../../src/hugepage/dma-region.js';
import type { PacketPool } from '../../../src/hugepage/packet-pool.js';
import { booleanOption } from '../../../src/options.js';
import type { MadeUpCard } from './card.js';
import * as reg from './registers.js';
import { MadeUpRxQueue } from './rx-queue.js';
import { MadeUpTxQueue } from './tx-queue.js';

const MAIL_TIMEOUT_MS = 10_000;
const RING = { min: 3, max: 1000, multipleOf: 3, default: 99 } as const;

export const LIMITS: DeviceLimits = {
  rxRing: RING,
  txRing: RING,
  maxQueuePairs: reg.MAX_QUEUE_PAIRS,
  minFrameBytes: reg.MIN_FRAME_BYTES,
  maxFrameBytes: reg.MAX_FRAME_BYTES,
  headroomBytes: reg.HEADER_BYTES,
};

const CAPABILITIES: DeviceCapabilities = {
  rxMetadata: false,
  vlanStrip: false,
  txOffloads: 0,
  rxTimes: false,
  interrupts: true,
};

export class MadeUpDevice extends BaseDevice {
  readonly address: string;
  readonly driver = 'made-up';
  readonly model = 'MU-5';
  readonly limits = LIMITS;
  readonly capabilities = CAPABILITIES;
  readonly pool: PacketPool;
  readonly maxFrameBytes: number;
  mac: Uint8Array = new Uint8Array(6);
  readonly #card: MadeUpCard;
  readonly #settings: DeviceSettings;
  readonly #rings: DmaRegion;
  readonly #rxQueues: MadeUpRxQueue[] = [];
  readonly #txQueues: MadeUpTxQueue[] = [];
  #attached = false;
  /** Mail is written one after the other. */
  #mailbox: Promise<void> = Promise.resolve();
  #mails = 0;
  /** Ends mail of the opening. */
  #opening: AbortSignal | undefined;

  /** @throws NicError `ALREADY_OPEN`, `BAD_OPTION`, `NO_MEMORY` */
  constructor(card: MadeUpCard, address: string, options: OpenOptions) {
    super();
    this.address = address;
    this.#card = card;
    if (card.claimed) {
      throw new NicError('ALREADY_OPEN', `${address} is open`, { path: address, hint: 'Close it first.' });
    }
    this.#settings = deviceSettings(address, options, LIMITS, CAPABILITIES);
    const { pool, maxFrameBytes, queuePairs, rxRingSize, txRingSize, pageSize, signal } = this.#settings;
    this.pool = pool;
    this.maxFrameBytes = maxFrameBytes;
    this.#opening = signal;
    const sizeBytes = queuePairs * (rxRingSize + txRingSize) * reg.DESCRIPTOR_WORDS * 4;
    try {
      this.#rings = new DmaRegion({ sizeBytes, pageSize, name: 'rings' });
    } catch (error) {
      if (this.#settings.ownsPool) pool.close();
      throw error;
    }
    card.claimed = true;
  }

  get rxQueues(): Queues<MadeUpRxQueue> {
    return this.#rxQueues as unknown as Queues<MadeUpRxQueue>;
  }

  get txQueues(): Queues<MadeUpTxQueue> {
    return this.#txQueues as unknown as Queues<MadeUpTxQueue>;
  }

  /** Brings the device up. On failure it is closed. */
  async start(): Promise<this> {
    const { signal, promiscuous } = this.#settings;
    try {
      signal?.throwIfAborted();
      this.#assertPresent();
      this.#card.write(reg.CONTROL, reg.CONTROL_RESET);
      this.pool.attach(this.#card.memory);
      this.#attached = true;
      this.#rings.mapInto(this.#card.memory);
      this.mac = this.#readMac();
      this.#makeQueues();
      this.#card.onGone((error) => {
        for (const queue of this.#rxQueues) queue.end(error);
      });
      this.#card.write(reg.CONTROL, reg.CONTROL_RUN);
      await this.setPromiscuous(promiscuous);
      signal?.throwIfAborted();
      return this;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      this.#opening = undefined;
    }
  }

  linkState(): LinkState {
    this.#assertPresent();
    const status = this.#card.read(reg.STATUS);
    const up = (status & reg.STATUS_LINK_UP) !== 0;
    return { up, speedMbps: up ? status >>> reg.STATUS_SPEED_SHIFT : 0, fullDuplex: up };
  }

  async setPromiscuous(on: boolean): Promise<void> {
    const bit = Number(booleanOption('setPromiscuous', on));
    await this.#converse((mail) => mail(reg.Mail.PROMISCUOUS, Uint8Array.of(bit)));
  }

  async setMac(mac: Uint8Array): Promise<void> {
    const address = stationAddress(mac);
    await this.#converse(async (mail) => {
      await mail(reg.Mail.MAC, address);
      this.mac = address;
    });
  }

  async setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void> {
    const list = multicastGroups(groups);
    await this.#converse(async (mail) => {
      if (list === 'all') return mail(reg.Mail.ALL_GROUPS);
      await mail(reg.Mail.NO_GROUPS);
      for (const group of list) await mail(reg.Mail.ADD_GROUP, group);
    });
  }

  stats(): NetStats {
    if (!this.closed.aborted) this.#assertPresent();
    // As of the last report that was read.
    const txInRing = this.#txQueues.reduce((sum, queue) => sum + queue.inFlight, 0);
    return { ...countedBy(this.#rxQueues, this.#txQueues), txInRing };
  }

  queueStats(): QueueStats[] {
    return this.#rxQueues.map((queue, pair) => countedBy([queue], [this.#txQueues[pair]!]));
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.#card.onGone(listener);
  }

  protected isDrained(): boolean {
    this.#assertPresent();
    for (const queue of this.#txQueues) queue.reclaim();
    return this.#txQueues.every((queue) => queue.inFlight === 0);
  }

  protected async shutDown(): Promise<void> {
    this.#card.write(reg.CONTROL, reg.CONTROL_RESET);
    const queues = [...this.#rxQueues, ...this.#txQueues];
    for (const queue of queues) queue.close(this.closedError());
    this.#rings.close();
    if (this.#attached) this.pool.detach(this.#card.memory);
    if (this.#settings.ownsPool) this.pool.close();
    this.#card.release();
  }

  #assertPresent(): void {
    if (this.#card.read(reg.ID) === reg.ID_VALUE) return;
    throw new NicError('DEVICE_GONE', `${this.address} does not answer`, {
      path: this.address,
      hint: 'Plug it in again.',
    });
  }

  /** Runs mails that belong together, after those that were begun before. */
  #converse(
    talk: (mail: (command: number, data?: Uint8Array) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const done = this.#mailbox.then(() => talk((command, data) => this.#mail(command, data)));
    this.#mailbox = done.catch(() => {});
    return done;
  }

  /** @throws NicError `DEVICE_TIMEOUT`, `DEVICE_GONE`, `CLOSED`; the reason of the signal of `open` */
  async #mail(command: number, data: Uint8Array = new Uint8Array(0)): Promise<void> {
    this.closed.throwIfAborted();
    const words = new Uint32Array(2);
    new Uint8Array(words.buffer).set(data);
    this.#card.write(reg.MAILBOX_LOW, words[0]!);
    this.#card.write(reg.MAILBOX_HIGH, words[1]!);
    this.#card.write(reg.MAILBOX, command);
    const number = ++this.#mails;
    const look = (): true | undefined => {
      this.#assertPresent();
      return this.#card.read(reg.MAILBOX_ANSWER) === number ? true : undefined;
    };
    const limits = { timeoutMs: MAIL_TIMEOUT_MS, signal: this.#opening, closed: this.closed };
    if ((await until(look, limits)) === true) return;
    throw new NicError('DEVICE_TIMEOUT', `${this.address} did not answer mail within ${MAIL_TIMEOUT_MS} ms`, {
      path: this.address,
      hint: 'Pull the card out and plug it in again.',
    });
  }

  #readMac(): Uint8Array {
    const words = Uint32Array.of(this.#card.read(reg.MAC_LOW), this.#card.read(reg.MAC_HIGH));
    return new Uint8Array(words.buffer).slice(0, 6);
  }

  #makeQueues(): void {
    const { pool, maxFrameBytes } = this;
    const card = this.#card;
    const { queuePairs, rxRingSize, txRingSize } = this.#settings;
    card.write(reg.POOL_LOW, pool.frameIovaLow - pool.headroomBytes);
    card.write(reg.POOL_HIGH, pool.iovaHigh);
    card.write(reg.POOL_SHIFT, pool.bufferShift);
    card.write(reg.POOL_HEADROOM, pool.headroomBytes);
    card.write(reg.POOL_BUFFERS, pool.capacity);
    card.write(reg.LONGEST, maxFrameBytes);
    card.write(reg.QUEUE_PAIRS, queuePairs);
    let offset = 0;
    const ringAt = (register: number, size: number): Int32Array => {
      const words = new Int32Array(this.#rings.buffer, offset, size * reg.DESCRIPTOR_WORDS);
      card.write(register, this.#rings.iovaLow + offset);
      card.write(register + reg.RING_HIGH, this.#rings.iovaHigh);
      card.write(register + reg.RING_SIZE, size);
      offset += words.byteLength;
      return words;
    };
    for (let q = 0; q < queuePairs; q++) {
      const bit = 1 << q;
      const [rxAt, txAt] = [reg.rxRing(q), reg.txRing(q)];
      const receiver = new MadeUpRxQueue({
        ring: ringAt(rxAt, rxRingSize),
        pool,
        maxFrameBytes,
        kick: () => card.write(rxAt + reg.RING_KICK, 1),
        arm: () => card.write(reg.INTERRUPTS, card.read(reg.INTERRUPTS) | bit),
        disarm: () => card.write(reg.INTERRUPTS, card.read(reg.INTERRUPTS) & ~bit),
      });
      card.onInterrupt(q, () => receiver.interrupted());
      this.#rxQueues.push(receiver);
      const ring = ringAt(txAt, txRingSize);
      const kick = (): void => card.write(txAt + reg.RING_KICK, 1);
      this.#txQueues.push(new MadeUpTxQueue({ ring, pool, maxFrameBytes, number: q, kick }));
    }
  }
}

function countedBy(rxQueues: readonly MadeUpRxQueue[], txQueues: readonly MadeUpTxQueue[]): QueueStats {
  const rx = { packets: 0, bytes: 0, tooLong: 0, damaged: 0, noBuffer: 0 };
  const tx = { packets: 0, bytes: 0, errors: 0 };
  for (const { counters } of rxQueues) addTo(rx, counters);
  for (const { counters } of txQueues) addTo(tx, counters);
  return {
    rxPackets: rx.packets,
    rxBytes: rx.bytes,
    rxTooLong: rx.tooLong,
    rxDamaged: rx.damaged,
    rxNoBuffer: rx.noBuffer,
    txPackets: tx.packets,
    txBytes: tx.bytes,
    txErrors: tx.errors,
  };
}

function addTo<T extends Record<string, number>>(sums: T, more: Readonly<T>): void {
  for (const name of Object.keys(sums) as (keyof T & string)[]) {
    (sums as Record<string, number>)[name]! += more[name]!;
  }
}
