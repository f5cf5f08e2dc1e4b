/**
 * A virtio network card behind a modern PCI interface: a second reading of VIRTIO 1.2, independent of the
 * driver's. It sees what it was notified of and nothing else, and notes whatever the driver may not do. Its structures lie
 * in two BARs, at odd places.
 */
import { writeSync } from 'node:fs';
import { NicError } from '../../../src/errors.js';
import { Region } from '../../../src/vfio/region.js';
import { type IrqInfo, PciIrq, PciRegion, type VfioDevice } from '../../../src/vfio/types.js';
import { FakeMapper } from '../fake-mapper.js';
import { GoneListeners } from '../gone-listeners.js';
import { makeConfigSpace } from './card-config.js';
import { CardQueue } from './card-queue.js';

/** Where the card keeps its structures (4.1.4): BAR and offset. */
export const COMMON = { bar: PciRegion.BAR4, offset: 0x1000, sizeBytes: 0x38 } as const;
export const NOTIFY = { bar: PciRegion.BAR4, offset: 0x2000, sizeBytes: 0x400, multiplier: 8 } as const;
export const DEVICE = { bar: PciRegion.BAR2, offset: 0x40, sizeBytes: 0x18 } as const;
const BAR_BYTES = 0x4000;

/** Bits of 5.1.3 and 6. */
export const F = {
  CSUM: 0,
  GUEST_CSUM: 1,
  MTU: 3,
  MAC: 5,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  NOTIFICATION_DATA: 38,
  RSS: 60,
  SPEED_DUPLEX: 63,
} as const;

/** Everything that the driver knows, and some that it does not and must not accept. */
export const ALL_FEATURES: readonly number[] = Object.values(F);

export interface CardOptions {
  readonly features?: readonly number[];
  readonly mac?: Uint8Array;
  readonly pairs?: number;
  readonly queueSize?: number;
  readonly mtu?: number;
  readonly vectors?: number;
  readonly rssKeyBytes?: number;
  readonly backend?: VfioDevice['backend'];
  /** Default: 0x1041, and 0x1000 where it is legacy only. */
  readonly deviceId?: number;
  /** No vendor capabilities: legacy only. */
  readonly legacyOnly?: boolean;
  /** FEATURES_OK does not stay. */
  readonly refusesFeatures?: boolean;
  /** The driver is asked to announce itself as soon as it is there. */
  readonly startsAnnouncing?: boolean;
  /** The page of doorbells is mapped, and the card looks there by itself, now and then and at `kick`. */
  readonly mapped?: boolean;
  /** A reset does not end. */
  readonly hangsInReset?: boolean;
  /** `vfio.address`. */
  readonly address?: string;
}

const NO_IRQ: IrqInfo = { count: 0, eventfd: false, maskable: false, noResize: false };
const ACKNOWLEDGE = 1;
const DRIVER = 2;
const DRIVER_OK = 4;
const FEATURES_OK = 8;
const NO_VECTOR = 0xffff;
/** In a mapped doorbell that nobody has written to. */
const QUIET = 0xffff_ffff;
/** Hashes over TCP and addresses; none over UDP. */
const RSS_TYPES = 0x1b;

export class VirtioCard implements VfioDevice {
  readonly address: string;
  readonly backend: VfioDevice['backend'];
  readonly canReset = true;
  readonly mapper = new FakeMapper([{ first: 1n << 32n, last: (1n << 47n) - 1n }]);
  readonly complaints: string[] = [];
  readonly options: Required<Omit<CardOptions, 'address' | 'backend'>>;
  mac: Uint8Array;
  linkUp = true;
  /** Asks the driver to announce itself (5.1.4: VIRTIO_NET_S_ANNOUNCE). */
  announce = false;
  speedMbps = 25_000;
  promiscuous = true;
  allMulticast = false;
  groups: string[] = [];
  activePairs = 1;
  /** What RSS was told: hash types, table, key. */
  rss: { readonly types: number; readonly table: readonly number[]; readonly key: Uint8Array } | undefined;
  gone = false;
  needsReset = false;
  /** Control commands that are answered late: the card waits for `answer()`. */
  silent = false;
  refusesCommands = false;
  /** Called at each read of the device's configuration, before it is answered. */
  onConfigRead: (offset: number) => void = () => {};
  closed = false;
  busMaster = false;
  eventfds: readonly number[] = [];
  status = 0;
  accepted = new Set<number>();
  configVector = NO_VECTOR;
  readonly goneListeners = new GoneListeners();
  readonly #regions = new Map<number, Region>();
  readonly #doorbells = new Uint32Array(NOTIFY.sizeBytes / 4).fill(QUIET);
  #looking: NodeJS.Timeout | undefined;
  queues: CardQueue[] = [];
  #featureSelect = 0;
  #acceptSelect = 0;
  #queueSelect = 0;
  #generation = 0;
  #config: Uint8Array;

  constructor(options: CardOptions = {}) {
    this.options = {
      features: ALL_FEATURES,
      mac: Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56),
      pairs: 4,
      queueSize: 256,
      mtu: 9000,
      vectors: 10,
      rssKeyBytes: 40,
      legacyOnly: false,
      deviceId: options.legacyOnly === true ? 0x1000 : 0x1041,
      refusesFeatures: false,
      hangsInReset: false,
      startsAnnouncing: false,
      mapped: false,
      ...options,
    };
    this.address = options.address ?? '0000:05:00.0';
    this.backend = options.backend ?? 'group';
    this.mac = this.options.mac;
    this.#config = makeConfigSpace(this.options.deviceId, this.options.legacyOnly);
    this.#region(PciRegion.CONFIG, 256, (offset, bytes) => this.#config.slice(offset, offset + bytes));
    this.#region(
      PciRegion.BAR4,
      BAR_BYTES,
      (offset, bytes) => this.#readBar4(offset, bytes),
      (offset, value, bytes) => this.#writeBar4(offset, value, bytes),
    );
    this.#region(PciRegion.BAR2, BAR_BYTES, (offset, bytes) =>
      this.#readDevice(offset - DEVICE.offset, bytes),
    );
    this.#makeQueues();
    if (this.options.mapped) this.#looking = setInterval(() => this.kick(), 1).unref();
  }

  /** Looks at mapped doorbells. */
  kick(): void {
    for (const queue of this.queues) {
      const at = (queue.number * NOTIFY.multiplier) / 4;
      const value = Atomics.exchange(this.#doorbells, at, QUIET);
      if (value === QUIET) continue;
      const hasData = this.accepted.has(F.NOTIFICATION_DATA);
      this.#notified(4 * at, hasData ? value : value & 0xffff, hasData ? 4 : 2);
    }
  }

  // What VFIO asks.

  region(index: number): Region {
    const region = this.#regions.get(index);
    if (region === undefined) throw new NicError('REGION_RANGE', `no region ${index}`);
    return region;
  }

  irqInfo(index: number): IrqInfo {
    return index === PciIrq.MSIX ? { ...NO_IRQ, count: this.options.vectors, eventfd: true } : NO_IRQ;
  }

  setIrqEventfds(_index: number, eventfds: readonly number[]): void {
    this.eventfds = eventfds;
  }

  disableIrqs(): void {
    this.eventfds = [];
  }

  reset(): void {
    this.#reset();
  }

  enableBusMaster(): void {
    this.busMaster = true;
  }

  disableBusMaster(): void {
    if (this.status !== 0 && !this.gone) this.complain('bus mastering goes off while the device runs');
    this.busMaster = false;
  }

  onGone(listener: (error: Error) => void): () => void {
    return this.goneListeners.add(listener);
  }

  close(): void {
    clearInterval(this.#looking);
    this.closed = true;
    this.busMaster = false;
    this.goneListeners.clear();
    for (const region of this.#regions.values()) region.revoke();
  }

  // What tests do.

  complain(what: string): void {
    this.complaints.push(what);
  }

  /** Pulled out: reads all ones. */
  pullOut(error: Error): void {
    this.gone = true;
    this.goneListeners.tell(error);
  }

  setLink(up: boolean): void {
    this.linkUp = up;
    this.#configurationChanged();
  }

  /** The machine has moved: the network is to be told. */
  askToAnnounce(): void {
    if (!this.accepted.has(F.GUEST_ANNOUNCE)) throw new Error('GUEST_ANNOUNCE was not accepted');
    this.announce = true;
    this.#configurationChanged();
  }

  /** 2.1.2: the card cannot go on. */
  breakDown(): void {
    this.needsReset = true;
    this.#configurationChanged();
  }

  /** A frame from the wire. False where no buffer was there for it. */
  arrive(frame: Uint8Array, pair = 0): boolean {
    if ((this.status & DRIVER_OK) === 0 || this.gone) return false;
    if (pair >= this.activePairs) throw new Error(`pair ${pair} is not in use`);
    this.kick();
    if (!this.#accepts(frame)) return true;
    return this.queues[2 * pair]!.receive(frame);
  }

  /** Sends what the driver has notified. */
  transmit(): Uint8Array[] {
    if ((this.status & DRIVER_OK) === 0 || this.gone || !this.linkUp) return [];
    this.kick();
    return this.queues.flatMap((queue) => (queue.number % 2 === 1 ? queue.transmit() : []));
  }

  interrupt(vector: number): void {
    const fd = this.eventfds[vector];
    if (fd !== undefined) writeSync(fd, new Uint8Array(BigUint64Array.of(1n).buffer));
  }

  /** Answers what the control queue was asked. */
  answer(): void {
    const control = this.queues.at(-1)!;
    control.answer((command) => this.#obey(command));
  }

  #obey(command: Uint8Array): boolean {
    if (this.refusesCommands) return false;
    const [kind, code] = command;
    const data = command.subarray(2);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const isSwitch = data.length === 1 && data[0]! <= 1;
    if (kind === 0 && code === 0 && isSwitch) this.promiscuous = data[0] === 1;
    else if (kind === 0 && code === 1 && isSwitch) this.allMulticast = data[0] === 1;
    else if (kind === 1 && code === 1 && data.length === 6) this.mac = Uint8Array.from(data);
    else if (kind === 4 && code === 0 && data.length === 2) this.activePairs = view.getUint16(0, true);
    else if (kind === 3 && code === 0 && data.length === 0 && this.announce) this.announce = false;
    else if (kind === 4 && code === 1 && this.accepted.has(F.RSS)) this.#setRss(view);
    else if (kind === 1 && code === 0) {
      const unicast = view.getUint32(0, true);
      const groups = view.getUint32(4 + 6 * unicast, true);
      if (data.length !== 8 + 6 * (unicast + groups)) this.complain(`a MAC table of ${data.length} bytes`);
      this.groups = Array.from({ length: groups }, (_, i) => {
        const at = 8 + 6 * (unicast + i);
        return String(data.subarray(at, at + 6));
      });
    } else {
      this.complain(`a control command ${kind} ${code} with ${data.length} bytes`);
      return false;
    }
    return true;
  }

  /** 5.1.6.5.7. */
  #setRss(view: DataView): void {
    const length = view.getUint16(4, true) + 1;
    const behind = 8 + 2 * length;
    const keyBytes = view.getUint8(behind + 2);
    if (view.byteLength !== behind + 3 + keyBytes || keyBytes > this.options.rssKeyBytes || length > 128) {
      this.complain(`an RSS command of ${view.byteLength} bytes, table of ${length}, key of ${keyBytes}`);
      return;
    }
    const table = Array.from({ length }, (_, i) => view.getUint16(8 + 2 * i, true));
    this.activePairs = view.getUint16(behind, true);
    if (table.some((pair) => pair >= this.activePairs)) this.complain('RSS names a pair that is not in use');
    const key = new Uint8Array(view.buffer, view.byteOffset + behind + 3, keyBytes).slice();
    this.rss = { types: view.getUint32(0, true), table, key };
    if ((this.rss.types & ~RSS_TYPES) !== 0) this.complain(`RSS hash types ${this.rss.types}`);
  }

  #accepts(frame: Uint8Array): boolean {
    if (!this.accepted.has(F.CTRL_RX) || this.promiscuous) return true;
    const to = frame.subarray(0, 6);
    if ((to[0]! & 1) === 0) return String(to) === String(this.mac);
    if (to.every((byte) => byte === 0xff)) return true;
    return this.allMulticast || this.groups.includes(String(to));
  }

  #configurationChanged(): void {
    this.#generation = (this.#generation + 1) & 0xff;
    if (this.configVector !== NO_VECTOR) this.interrupt(this.configVector);
  }

  #reset(): void {
    this.status = 0;
    this.accepted = new Set();
    this.needsReset = false;
    this.announce = false;
    this.promiscuous = true;
    this.allMulticast = false;
    this.groups = [];
    this.activePairs = 1;
    this.configVector = NO_VECTOR;
    this.mac = this.options.mac;
    this.#makeQueues();
  }

  #makeQueues(): void {
    const { pairs, queueSize, features } = this.options;
    const count = 2 * (features.includes(F.MQ) || features.includes(F.RSS) ? pairs : 1) + 1;
    this.queues = Array.from(
      { length: count },
      (_, i) => new CardQueue(this, i, i === count - 1 ? 64 : queueSize),
    );
  }

  #region(
    index: number,
    sizeBytes: number,
    read: (offset: number, bytes: number) => number | Uint8Array,
    write?: (offset: number, value: number, bytes: number) => void,
  ): void {
    const name = `region ${index} of ${this.address}`;
    const access = {
      read: (offset: number, into: Uint8Array) => {
        const value = this.gone ? 0xffff_ffff : read(offset, into.length);
        if (typeof value === 'number')
          for (let i = 0; i < into.length; i++) into[i] = (value >>> (8 * i)) & 0xff;
        else into.set(value);
      },
      write: (offset: number, from: Uint8Array) => {
        if (this.gone) return;
        write?.(
          offset,
          from.reduce((sum, byte, i) => sum + byte * 256 ** i, 0),
          from.length,
        );
      },
    };
    const properties = { index, name, sizeBytes, readable: true, writable: true };
    const window = { offset: NOTIFY.offset, buffer: this.#doorbells.buffer };
    const isMapped = this.options.mapped && index === NOTIFY.bar;
    this.#regions.set(index, new Region(properties, access, isMapped ? [window] : []));
  }

  #readBar4(at: number, bytes: number): number {
    const offset = at - COMMON.offset;
    const queue = this.queues[this.#queueSelect];
    const fields: Record<number, readonly [number, number]> = {
      4: [4, this.#offeredWord(this.#featureSelect)],
      16: [2, this.configVector],
      18: [2, this.queues.length],
      20: [1, this.status | (this.needsReset ? 64 : 0)],
      21: [1, this.#generation],
      22: [2, this.#queueSelect],
      24: [2, queue?.size ?? 0],
      26: [2, queue?.vector ?? NO_VECTOR],
      28: [2, Number(queue?.enabled ?? false)],
      30: [2, this.#queueSelect],
    };
    const [width, value] = fields[offset] ?? [0, 0];
    if (width !== bytes) this.complain(`a read of ${bytes} bytes at ${offset} of the common configuration`);
    return value;
  }

  #offeredWord(word: number): number {
    return this.options.features
      .filter((bit) => bit >>> 5 === word)
      .reduce((bits, bit) => (bits | (1 << (bit & 31))) >>> 0, 0);
  }

  #writeBar4(at: number, value: number, bytes: number): void {
    if (at >= NOTIFY.offset) {
      this.#notified(at - NOTIFY.offset, value, bytes);
      return;
    }
    const offset = at - COMMON.offset;
    const widths: Record<number, number> = { 0: 4, 8: 4, 12: 4, 16: 2, 20: 1, 22: 2, 24: 2, 26: 2, 28: 2 };
    if ((widths[offset] ?? 4) !== bytes || offset < 0 || offset >= COMMON.sizeBytes) {
      this.complain(`a write of ${bytes} bytes at ${offset} of the common configuration`);
    }
    if (offset === 0) this.#featureSelect = value;
    else if (offset === 8) this.#acceptSelect = value;
    else if (offset === 12) this.#acceptWord(value);
    else if (offset === 16) this.configVector = value < this.options.vectors ? value : NO_VECTOR;
    else if (offset === 20) this.#writeStatus(value);
    else if (offset === 22) this.#queueSelect = value;
    else this.#writeQueue(offset, value);
  }

  #acceptWord(bits: number): void {
    if ((this.status & FEATURES_OK) !== 0) this.complain('features are accepted after FEATURES_OK');
    for (let bit = 0; bit < 32; bit++) {
      if (((bits >>> bit) & 1) === 1) this.accepted.add(this.#acceptSelect * 32 + bit);
    }
  }

  /** 3.1.1: in this order, bit by bit. */
  #writeStatus(value: number): void {
    if (value === 0) {
      if (!this.options.hangsInReset || this.status === 0) this.#reset();
      return;
    }
    const order = [ACKNOWLEDGE, ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER | FEATURES_OK, 15];
    const step = order.indexOf(value);
    if (step < 0 || (step > 0 && order[step - 1] !== this.status)) {
      this.complain(`status ${value} after ${this.status}`);
    }
    this.status = value;
    if (value === order[3]) this.announce = this.options.startsAnnouncing;
    if (value === order[2]) {
      const known = [...this.accepted].every((bit) => this.options.features.includes(bit));
      if (!known) this.complain('a feature was accepted that was not offered');
      const missing = [F.VERSION_1, F.ACCESS_PLATFORM].filter(
        (bit) => this.options.features.includes(bit) && !this.accepted.has(bit),
      );
      if (!known || missing.length > 0 || this.options.refusesFeatures) this.status &= ~FEATURES_OK;
    }
  }

  #writeQueue(offset: number, value: number): void {
    const queue = this.queues[this.#queueSelect];
    if (queue === undefined) {
      this.complain(`queue ${this.#queueSelect} does not exist`);
      return;
    }
    if (queue.enabled) this.complain(`queue ${queue.number} is changed while it is enabled`);
    if ((this.status & FEATURES_OK) === 0)
      this.complain(`queue ${queue.number} is set up before FEATURES_OK`);
    if (offset === 24) {
      if (value > queue.size || (value & (value - 1)) !== 0) this.complain(`a queue of ${value} elements`);
      queue.size = value;
    } else if (offset === 26) queue.vector = value < this.options.vectors ? value : NO_VECTOR;
    else if (offset === 28) queue.enable();
    else if (offset >= 32) queue.setAddress((offset - 32) >>> 3, (offset & 4) !== 0, value);
  }

  #notified(offset: number, value: number, bytes: number): void {
    const hasData = this.accepted.has(F.NOTIFICATION_DATA);
    const number = value & 0xffff;
    const queue = this.queues[number];
    if (bytes !== (hasData ? 4 : 2) || queue === undefined || offset !== number * NOTIFY.multiplier) {
      this.complain(`a notification of ${bytes} bytes at ${offset}: ${value}`);
      return;
    }
    if ((this.status & DRIVER_OK) === 0) this.complain(`queue ${number} is notified before DRIVER_OK`);
    queue.notified(hasData ? value >>> 16 : undefined);
    if (queue.number === this.queues.length - 1 && !this.silent) this.answer();
  }

  /** 5.1.4. */
  #readDevice(offset: number, bytes: number): number {
    this.onConfigRead(offset);
    const view = new DataView(new ArrayBuffer(DEVICE.sizeBytes));
    for (const [i, byte] of this.mac.entries()) view.setUint8(i, byte);
    view.setUint16(6, Number(this.linkUp) | (this.announce ? 2 : 0), true);
    view.setUint16(8, this.options.pairs, true);
    view.setUint16(10, this.options.mtu, true);
    view.setUint32(12, this.speedMbps, true);
    view.setUint8(16, 1);
    view.setUint8(17, this.options.rssKeyBytes);
    view.setUint16(18, 128, true);
    view.setUint32(20, RSS_TYPES, true);
    if (offset < 0 || offset + bytes > DEVICE.sizeBytes)
      this.complain(`device configuration read at ${offset}`);
    return bytes === 4
      ? view.getUint32(offset, true)
      : bytes === 2
        ? view.getUint16(offset, true)
        : view.getUint8(offset);
  }
}
