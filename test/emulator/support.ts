/**
 * A tiny driver for the tests: plain memory as the client's, and register numbers of its own, written down from the
 * datasheet again (sections beside them), so that a wrong offset in the model does not go unnoticed.
 */
import { IxgbeModel } from '../../src/emulator/ixgbe/ixgbe-model.js';
import { type FrameMemory, frameMemory, type Port } from '../../src/emulator/link.js';
import type { ModelOptions } from '../../src/emulator/model.js';
import type { DeviceHost, DmaWindow } from '../../src/vfio/user/served-device.js';

export const BAR0 = 0;
export const BAR4 = 4;
export const CONFIG = 7;

/** 82599 datasheet, chapter 8.2.3. */
export const R = {
  CTRL: 0x00000, // 8.2.3.1.1
  STATUS: 0x00008, // 8.2.3.1.2
  EICR: 0x00800, // 8.2.3.5.1
  EICS: 0x00808,
  EIAC: 0x00810,
  EIMS: 0x00880,
  EIMC: 0x00888,
  EIAM: 0x00890,
  GPIE: 0x00898, // 8.2.3.5.18
  IVAR0: 0x00900,
  IVAR_MISC: 0x00a00,
  FCTRL: 0x05080, // 8.2.3.7.1
  VLNCTRL: 0x05088,
  MCSTCTRL: 0x05090,
  MTA0: 0x05200,
  RXCSUM: 0x05000,
  VFTA0: 0x0a000,
  RAL0: 0x0a200,
  MRQC: 0x0ec80,
  RETA0: 0x0eb00,
  RSSRK0: 0x0eb80,
  RXCTRL: 0x03000, // 8.2.3.8.10
  RDRXCTL: 0x02f00,
  HLREG0: 0x04240, // 8.2.3.22.8
  MAXFRS: 0x04268,
  LINKS: 0x042a4,
  DMATXCTL: 0x04a80, // 8.2.3.9.2
  RTTDCS: 0x04900,
  RQSMR0: 0x02300,
  TQSM0: 0x08600,
} as const;

export const rx = (
  queue: number,
  register: 'RDBAL' | 'RDBAH' | 'RDLEN' | 'RDH' | 'SRRCTL' | 'RDT' | 'RXDCTL',
): number =>
  (queue < 64 ? 0x1000 + 0x40 * queue : 0xd000 + 0x40 * (queue - 64)) +
  { RDBAL: 0, RDBAH: 4, RDLEN: 8, RDH: 0x10, SRRCTL: 0x14, RDT: 0x18, RXDCTL: 0x28 }[register];

export const tx = (
  queue: number,
  register: 'TDBAL' | 'TDBAH' | 'TDLEN' | 'TDH' | 'TDT' | 'TXDCTL' | 'TDWBAL' | 'TDWBAH',
): number =>
  0x6000 +
  0x40 * queue +
  { TDBAL: 0, TDBAH: 4, TDLEN: 8, TDH: 0x10, TDT: 0x18, TXDCTL: 0x28, TDWBAL: 0x38, TDWBAH: 0x3c }[register];

export const ENABLE = 1 << 25;
export const DESCTYPE_ADVANCED = 1 << 25;
export const DROP_EN = 1 << 28;

/** Command bits of an advanced data descriptor (7.2.3.2.4): DEXT, DTYP data. */
export const DATA = (1 << 29) | (3 << 20);
export const EOP = 1 << 24;
export const IFCS = 1 << 25;
export const RS = 1 << 27;
export const VLE = 1 << 30;
export const TSE = 1 << 31;

/** One window of plain memory, and a log of the interrupts that were raised. */
export class FakeHost implements DeviceHost {
  readonly windows: DmaWindow[] = [];
  windowGeneration = 0;
  readonly raised: string[] = [];

  addWindow(
    iova: number,
    sizeBytes: number,
    access: 'rw' | 'r' | 'w' = 'rw',
    memory?: ArrayBuffer,
  ): DmaWindow {
    const buffer = memory ?? new ArrayBuffer(sizeBytes);
    const window = {
      iova,
      sizeBytes,
      readable: access !== 'w',
      writable: access !== 'r',
      bytes: new Uint8Array(buffer, 0, sizeBytes),
      words: new Int32Array(buffer, 0, sizeBytes / 4),
    };
    this.windows.push(window);
    this.windowGeneration++;
    return window;
  }

  removeWindow(window: DmaWindow): void {
    this.windows.splice(this.windows.indexOf(window), 1);
    this.windowGeneration++;
  }

  findWindow(iova: number): DmaWindow | undefined {
    return this.windows.find((w) => iova >= w.iova && iova < w.iova + w.sizeBytes);
  }

  raiseInterrupt(irqIndex: number, vector: number): void {
    this.raised.push(`${['intx', 'msi', 'msix'][irqIndex]}:${vector}`);
  }
}

export const MEMORY_IOVA = 0x100000;
export const MEMORY_BYTES = 0x200000;
/** Layout of the client's memory, offsets from its start. */
export const RX_RING = 0x0;
export const TX_RING = 0x10000;
export const SCRATCH = 0x20000;
export const RX_BUFFERS = 0x40000;
export const TX_BUFFERS = 0x140000;

export interface RingOptions {
  readonly queue?: number;
  readonly count?: number;
  /** SRRCTL.BSIZEPACKET. */
  readonly bufferKib?: number;
  readonly legacy?: boolean;
  readonly drop?: boolean;
  readonly stripVlan?: boolean;
  /** Descriptors given to hardware; all but one by default. */
  readonly give?: number;
  readonly wthresh?: number;
}

export interface Received {
  readonly bytes: Uint8Array;
  readonly words: readonly number[];
}

/** A model with a client attached, and what a driver does with it. */
export class TestNic {
  readonly model: IxgbeModel;
  readonly host = new FakeHost();
  readonly memory: DmaWindow;
  rxCount = 0;
  rxNext = 0;
  rxBufferBytes = 2048;
  txCount = 0;
  txNext = 0;

  constructor(options: ModelOptions = {}) {
    this.model = new IxgbeModel({ mappable: false, ...options });
    this.memory = this.host.addWindow(MEMORY_IOVA, MEMORY_BYTES);
    this.model.attach(this.host);
  }

  read(offset: number): number {
    const bytes = new Uint8Array(4);
    this.model.regionRead(BAR0, offset, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  write(offset: number, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value >>> 0, true);
    this.model.regionWrite(BAR0, offset, bytes);
  }

  config16(offset: number): number {
    const bytes = new Uint8Array(2);
    this.model.regionRead(CONFIG, offset, bytes);
    return bytes[0]! | (bytes[1]! << 8);
  }

  setConfig16(offset: number, value: number): void {
    this.model.regionWrite(CONFIG, offset, Uint8Array.of(value, value >>> 8));
  }

  /** Memory and bus master on, PCI command register. */
  enableBusMaster(): this {
    this.setConfig16(4, 0x6);
    return this;
  }

  word(offset: number): number {
    return this.memory.words[offset / 4]!;
  }

  setWords(offset: number, words: readonly number[]): void {
    this.memory.words.set(words, offset / 4);
  }

  /** 4.6.7: everything is set before the queue is enabled and the tail moved. */
  setUpRx(options: RingOptions = {}): this {
    const queue = options.queue ?? 0;
    const count = options.count ?? 8;
    const bufferKib = options.bufferKib ?? 2;
    const ring = RX_RING + queue * 0x1000;
    this.enableBusMaster();
    this.rxCount = count;
    this.rxBufferBytes = bufferKib * 1024;
    for (let i = 0; i < count; i++) this.giveRx(i, queue);
    this.write(rx(queue, 'RDBAL'), MEMORY_IOVA + ring);
    this.write(rx(queue, 'RDBAH'), 0);
    this.write(rx(queue, 'RDLEN'), count * 16);
    this.write(
      rx(queue, 'SRRCTL'),
      bufferKib | (options.legacy === true ? 0 : DESCTYPE_ADVANCED) | (options.drop === true ? DROP_EN : 0),
    );
    this.write(R.RXCTRL, 1);
    this.write(rx(queue, 'RXDCTL'), ENABLE | (options.stripVlan === true ? 1 << 30 : 0));
    this.write(rx(queue, 'RDT'), options.give ?? count - 1);
    return this;
  }

  /** Writes descriptor `index`: buffer address, status cleared. */
  giveRx(index: number, queue = 0): void {
    const buffer = MEMORY_IOVA + RX_BUFFERS + queue * 0x20000 + index * this.rxBufferBytes;
    this.setWords(RX_RING + queue * 0x1000 + index * 16, [buffer, 0, 0, 0]);
  }

  setUpTx(options: RingOptions = {}): this {
    const queue = options.queue ?? 0;
    const count = options.count ?? 8;
    this.enableBusMaster();
    this.txCount = count;
    this.write(R.DMATXCTL, 1 | (0x8100 << 16));
    this.write(tx(queue, 'TDBAL'), MEMORY_IOVA + TX_RING + queue * 0x1000);
    this.write(tx(queue, 'TDBAH'), 0);
    this.write(tx(queue, 'TDLEN'), count * 16);
    this.write(tx(queue, 'TXDCTL'), ENABLE | ((options.wthresh ?? 0) << 16));
    return this;
  }

  /** Accepts everything: promiscuous. */
  promiscuous(): this {
    this.write(R.FCTRL, (1 << 8) | (1 << 9) | (1 << 10));
    return this;
  }

  /** Puts a descriptor at the next place of queue 0's ring; `doorbell` moves the tail. */
  putTx(words: readonly number[], doorbell = true): number {
    const index = this.txNext;
    this.setWords(TX_RING + index * 16, words);
    this.txNext = (index + 1) % this.txCount;
    if (doorbell) this.write(tx(0, 'TDT'), this.txNext);
    return index;
  }

  /** Puts a frame into buffer `slot` (2 KiB each). @returns its I/O virtual address */
  putBuffer(slot: number, bytes: Uint8Array, shift = 0): number {
    this.memory.bytes.set(bytes, TX_BUFFERS + slot * 2048 + shift);
    return MEMORY_IOVA + TX_BUFFERS + slot * 2048 + shift;
  }

  /** Sends one frame in one advanced descriptor. */
  send(bytes: Uint8Array, extra = 0, options = 0): number {
    const index = this.txNext;
    const iova = this.putBuffer(index, bytes);
    this.putTx([iova, 0, bytes.length | DATA | EOP | IFCS | RS | extra, (bytes.length << 14) | options]);
    this.model.poll(64);
    return index;
  }

  txDone(index: number): boolean {
    return (this.word(TX_RING + index * 16 + 12) & 1) !== 0;
  }

  /** Lets a frame arrive from the wire. */
  arrive(bytes: Uint8Array): boolean {
    const memory = frameMemory(bytes.length);
    memory.bytes.set(bytes);
    const stored = this.model.deliver(memory, 0, bytes.length);
    this.model.flush();
    return stored;
  }

  /** Descriptor words of queue `queue` at `index`, unsigned. */
  rxWords(index: number, queue = 0): number[] {
    const at = (RX_RING + queue * 0x1000) / 4 + index * 4;
    return [0, 1, 2, 3].map((i) => this.memory.words[at + i]! >>> 0);
  }

  rxBuffer(index: number, lengthBytes: number, queue = 0): Uint8Array {
    const at = RX_BUFFERS + queue * 0x20000 + index * this.rxBufferBytes;
    return this.memory.bytes.slice(at, at + lengthBytes);
  }

  /** Takes the next frame off queue 0 (advanced descriptors) and gives the descriptors back. */
  receive(): Received | undefined {
    const parts: Uint8Array[] = [];
    let words = this.rxWords(this.rxNext);
    for (let n = 0; n < this.rxCount; n++) {
      words = this.rxWords(this.rxNext);
      if ((words[2]! & 1) === 0) return undefined;
      parts.push(this.rxBuffer(this.rxNext, words[3]! & 0xffff));
      this.giveRx(this.rxNext);
      this.write(rx(0, 'RDT'), this.rxNext);
      this.rxNext = (this.rxNext + 1) % this.rxCount;
      if ((words[2]! & 2) !== 0) return { bytes: concat(parts), words };
    }
    return undefined;
  }

  get violations(): string[] {
    return this.model.violations.list.map((v) => `${v.subject}: ${v.message}`);
  }
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A frame where ports expect one. */
export function memoryOf(bytes: Uint8Array): FrameMemory {
  const memory = frameMemory(bytes.length);
  memory.bytes.set(bytes);
  return memory;
}

/** Keeps copies of what it gets. */
export class Recorder implements Port {
  readonly frames: Uint8Array[] = [];
  damagedCount = 0;
  flushes = 0;
  carriers: boolean[] = [];
  available = 0x3fffffff;

  plug(): void {}
  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    this.frames.push(memory.bytes.slice(offsetBytes, offsetBytes + lengthBytes));
    return true;
  }
  damaged(): void {
    this.damagedCount++;
  }
  flush(): void {
    this.flushes++;
  }
  room(): number {
    return this.available;
  }
  carrier(up: boolean): void {
    this.carriers.push(up);
  }
}

export const BROADCAST = Uint8Array.of(255, 255, 255, 255, 255, 255);
export const PEER_MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 0x99);

/** A frame of `length` bytes with a counting payload. */
export function frame(destination: Uint8Array, length = 60, etherType = 0x88b5): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 14; i < length; i++) bytes[i] = i;
  bytes.set(destination, 0);
  bytes.set(PEER_MAC, 6);
  bytes[12] = etherType >>> 8;
  bytes[13] = etherType;
  return bytes;
}

/** Internet checksum by the book: big-endian words, one by one. */
export function internetChecksum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum = (sum & 0xffff) + 1;
  }
  return ~sum & 0xffff;
}

export interface PacketOptions {
  readonly source?: readonly number[];
  readonly destination?: readonly number[];
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly protocol?: 'tcp' | 'udp';
  readonly payload?: Uint8Array;
  readonly vlan?: number;
  readonly badIpChecksum?: boolean;
  readonly badL4Checksum?: boolean;
  readonly zeroUdpChecksum?: boolean;
  readonly fragment?: number;
}

const PROTOCOLS = { tcp: 6, udp: 17 } as const;

/** TCP or UDP in IPv4 (4-byte addresses) or IPv6 (16-byte), checksums right unless told otherwise. */
export function packet(destination: Uint8Array, options: PacketOptions = {}): Uint8Array {
  const source = options.source ?? [10, 0, 0, 1];
  const target = options.destination ?? [10, 0, 0, 2];
  const protocol = PROTOCOLS[options.protocol ?? 'udp'];
  const payload = options.payload ?? new Uint8Array(18).fill(0x5a);
  const l4 = concat([new Uint8Array(protocol === 6 ? 20 : 8), payload]);
  const put = (bytes: Uint8Array, at: number, value: number): void => {
    bytes[at] = value >>> 8;
    bytes[at + 1] = value;
  };
  put(l4, 0, options.sourcePort ?? 1000);
  put(l4, 2, options.destinationPort ?? 2000);
  if (protocol === 6) l4[12] = 0x50;
  else put(l4, 4, l4.length);
  const checksumAt = protocol === 6 ? 16 : 6;
  const pseudo = concat([
    Uint8Array.from(source),
    Uint8Array.from(target),
    Uint8Array.of(0, protocol, l4.length >>> 8, l4.length),
  ]);
  const sum = internetChecksum(concat([pseudo, l4]));
  if (options.zeroUdpChecksum !== true) put(l4, checksumAt, options.badL4Checksum === true ? sum ^ 1 : sum);
  const ip =
    source.length === 4
      ? ipv4Header(source, target, protocol, l4.length, options)
      : ipv6Header(source, target, protocol, l4.length);
  const etherType = source.length === 4 ? 0x0800 : 0x86dd;
  const tag = options.vlan === undefined ? [] : [0x81, 0x00, options.vlan >>> 8, options.vlan & 0xff];
  const bytes = concat([
    destination,
    PEER_MAC,
    Uint8Array.from(tag),
    Uint8Array.of(etherType >>> 8, etherType & 0xff),
    ip,
    l4,
  ]);
  return bytes.length >= 60 ? bytes : concat([bytes, new Uint8Array(60 - bytes.length)]);
}

function ipv4Header(
  source: readonly number[],
  target: readonly number[],
  protocol: number,
  l4Bytes: number,
  options: PacketOptions,
): Uint8Array {
  const total = 20 + l4Bytes;
  const fragment = options.fragment ?? 0;
  const ip = Uint8Array.of(
    0x45,
    0,
    total >>> 8,
    total,
    0x12,
    0x34,
    fragment >>> 8,
    fragment,
    64,
    protocol,
    0,
    0,
    ...source,
    ...target,
  );
  const sum = internetChecksum(ip) ^ (options.badIpChecksum === true ? 1 : 0);
  ip[10] = sum >>> 8;
  ip[11] = sum;
  return ip;
}

function ipv6Header(
  source: readonly number[],
  target: readonly number[],
  protocol: number,
  l4Bytes: number,
): Uint8Array {
  return Uint8Array.of(0x60, 0, 0, 0, l4Bytes >>> 8, l4Bytes, protocol, 64, ...source, ...target);
}
