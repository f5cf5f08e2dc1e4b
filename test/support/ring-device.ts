/**
 * The hardware's side of one receive and one transmit ring of advanced descriptors, on plain memory. It checks what
 * the driver hands over, as no NIC does, and declares the layout by itself.
 * Source: Intel 82599 datasheet, 7.1.6 (receive descriptors), 7.1.9 (receive ring), 7.2.3 (transmit descriptors and
 * ring). The 82576 has the same (7.1.5, 7.2.2).
 */
import * as assert from 'uvu/assert';

/** What the device knows of the driver's memory: where the buffers are in its address space. */
export interface BufferMap {
  readonly iova: bigint;
  readonly bufferBytes: number;
  /** In front of each frame. */
  readonly headroomBytes: number;
  readonly buffers: number;
  readonly memory: Uint8Array;
}

/** A tail register that keeps every value written to it. */
export class TailRegister {
  [index: number]: number;
  readonly writes: number[] = [];
  readonly #onWrite: (value: number) => void;

  constructor(onWrite: (value: number) => void) {
    this.#onWrite = onWrite;
  }

  get 0(): number {
    return this.writes.at(-1) ?? 0;
  }

  set 0(value: number) {
    this.writes.push(value);
    this.#onWrite(value);
  }
}

/** 7.1.6.2, status field. */
export const RX_STATUS_DD = 0x1;
export const RX_STATUS_EOP = 0x2;
/** 7.1.6.2, error field: RXE, any error of the MAC (bit 31 of the third word). */
export const RX_ERROR_RXE = 0x8000_0000 | 0;

export interface WriteBack {
  /** Bytes 0 and on of the buffer. */
  readonly frame?: Uint8Array;
  /** Value of the length field; by default the frame's. */
  readonly length?: number;
  /** Status and errors; by default DD and EOP. */
  readonly status?: number;
}

export class RxRingDevice {
  readonly size: number;
  readonly tail = new TailRegister((value) => this.#tailWritten(value));
  head = 0;
  readonly #ring: Int32Array;
  readonly #map: BufferMap;
  /** Buffer that was in a slot when it was written back: the write-back overwrites the address. */
  readonly #filled: Int32Array;
  #tailBefore = 0;

  constructor(ring: Int32Array, map: BufferMap) {
    this.#ring = ring;
    this.#map = map;
    this.size = ring.length / 4;
    this.#filled = new Int32Array(this.size).fill(-1);
  }

  /** The hardware begins at this slot: its head register was set. */
  startAt(head: number): void {
    this.head = head;
    this.#tailBefore = head;
  }

  /** Descriptors that the hardware owns: from head up to, not including, tail (7.1.9). */
  get available(): number {
    return (this.tail[0]! - this.head + this.size) % this.size;
  }

  /** Receives one frame; false where no descriptor is free (the frame is lost). Returns nothing it did not check. */
  receive(what: WriteBack): boolean {
    if (this.available === 0) return false;
    const slot = this.head;
    const buffer = this.armedBuffer(slot);
    const frame = what.frame ?? new Uint8Array(0);
    const { bufferBytes, headroomBytes, memory } = this.#map;
    memory.set(frame.subarray(0, bufferBytes - headroomBytes), buffer * bufferBytes + headroomBytes);
    this.#filled[slot] = buffer;
    this.writeBack(slot, what);
    this.head = (slot + 1) % this.size;
    return true;
  }

  /** Write-back format, 7.1.6.2, with neighbour fields full of noise. DD comes last. */
  writeBack(slot: number, what: WriteBack): void {
    const word = slot * 4;
    const length = what.length ?? what.frame?.length ?? 0;
    this.#ring[word] = 0x0000_0163;
    this.#ring[word + 1] = 0xfeed_beef | 0;
    this.#ring[word + 3] = length | (0xa5a5 << 16);
    this.#ring[word + 2] = what.status ?? RX_STATUS_DD | RX_STATUS_EOP;
  }

  /** The buffer that a slot holds, whether it is armed or written back and not yet taken. */
  bufferOf(slot: number): number {
    const done = (this.#ring[slot * 4 + 2]! & RX_STATUS_DD) !== 0;
    return done ? this.#filled[slot]! : this.armedBuffer(slot);
  }

  /** Read format, 7.1.6.1: buffer address, then a header address: not used with one buffer, but its bit 0 is DD. */
  armedBuffer(slot: number): number {
    const word = slot * 4;
    assert.is(this.#ring[word + 2], 0, `slot ${slot}: header address and DD are 0`);
    return bufferAt(this.#map, this.#ring[word]!, this.#ring[word + 1]!, `receive slot ${slot}`);
  }

  #tailWritten(value: number): void {
    assert.ok(Number.isInteger(value) && value >= 0 && value < this.size, `RDT ${value} is in the ring`);
    // All that is handed over now has to be armed, with buffers that no other slot has.
    for (let slot = this.#tailBefore; slot !== value; slot = (slot + 1) % this.size) this.armedBuffer(slot);
    this.#tailBefore = value;
    const owned = new Set<number>();
    for (let slot = this.head; slot !== value; slot = (slot + 1) % this.size)
      owned.add(this.armedBuffer(slot));
    assert.is(owned.size, this.available, 'each descriptor has a buffer of its own');
  }
}

/** What the hardware was asked to do to a frame. */
export interface Offload {
  /** Tag that it inserts. */
  readonly vlan?: number;
  readonly ipChecksum?: true;
  readonly l4Checksum?: 'tcp' | 'udp';
  readonly macBytes?: number;
  readonly ipBytes?: number;
  /** The frame ends in its own FCS. */
  readonly ownFcs?: boolean;
}

export interface SentFrame {
  readonly buffer: number;
  readonly bytes: Uint8Array;
  readonly offload: Offload;
}

/** Transmit context, 7.2.3.2.3: what data descriptors with CC refer to. */
interface Context {
  readonly vlan: number;
  readonly macBytes: number;
  readonly ipBytes: number;
  readonly isIpv4: boolean;
  readonly l4: 'tcp' | 'udp';
}

// Advanced transmit data descriptor, 7.2.3.2.4, third and fourth word.
const DTALEN_MASK = 0xffff;
const DTYP_SHIFT = 20;
const DTYP_MASK = 0xf;
const DTYP_CONTEXT = 0x2;
const DTYP_DATA = 0x3;
const DCMD_SHIFT = 24;
const DCMD_EOP = 0x01;
const DCMD_IFCS = 0x02;
const DCMD_RS = 0x08;
const DCMD_DEXT = 0x20;
const DCMD_VLE = 0x40;
const STA_DD = 0x1;
const PAYLEN_SHIFT = 14;
/** Every field between DTALEN and DTYP. */
const RESERVED_2 = 0x000f_0000;
/** Below PAYLEN: STA 3:0, IDX 6:4, CC 7, POPTS 13:8. */
const BELOW_PAYLEN = 0x3fff;
const CC = 1 << 7;
const POPTS_IXSM = 1 << 8;
const POPTS_TXSM = 1 << 9;
// Context, 7.2.3.2.3, third word: TUCMD 19:9.
const TUCMD_IPV4 = 1 << 10;
const TUCMD_TCP = 1 << 11;
const RS_EVERY = 32;

type Words = [number, number, number, number];

/** Fields of word 2 of a legacy descriptor that have to be 0 where nothing is inserted: CSO 23:16; IC, TSE, VLE and IDE. */
const LEGACY_UNUSED = (0xff << 16) | (0xd4 << DCMD_SHIFT);

export class TxRingDevice {
  readonly size: number;
  readonly tail = new TailRegister((value) => this.#tailWritten(value));
  head = 0;
  /** Everything that was put on the wire, in order. */
  readonly sent: SentFrame[] = [];
  /** Descriptors that transmitted nothing. */
  nulls = 0;
  /** False: the device never reports, as one whose write-backs get lost. */
  reports = true;
  #context: Context | undefined;
  #reportOwed = false;
  readonly #isLegacy: boolean;
  readonly #ring: Int32Array;
  readonly #map: BufferMap;

  /** @param isLegacy legacy descriptors (82574 datasheet 7.2.3) in place of advanced ones */
  constructor(ring: Int32Array, map: BufferMap, isLegacy = false) {
    this.#ring = ring;
    this.#map = map;
    this.#isLegacy = isLegacy;
    this.size = ring.length / 4;
  }

  /** The hardware begins at this slot: its head register was set. */
  startAt(head: number): void {
    this.head = head;
  }

  /** Descriptors queued and not fetched: from head up to, not including, tail (7.2.3.3). */
  get queued(): number {
    return (this.tail[0]! - this.head + this.size) % this.size;
  }

  /** Sends up to `count` frames; returns how many there were. */
  transmit(count: number = this.size): number {
    const frames = Math.min(count, this.queued);
    for (let i = 0; i < frames; i++) this.#transmitOne();
    return frames;
  }

  /** Buffers of the descriptors that are queued. */
  queuedBuffers(): number[] {
    const buffers: number[] = [];
    for (let slot = this.head; slot !== this.tail[0]; slot = (slot + 1) % this.size) {
      const word = slot * 4;
      const type = (this.#ring[word + 2]! >>> DTYP_SHIFT) & DTYP_MASK;
      if (!this.#isLegacy && type === DTYP_CONTEXT) continue;
      buffers.push(bufferAt(this.#map, this.#ring[word]!, this.#ring[word + 1]!, `transmit slot ${slot}`));
    }
    return buffers;
  }

  #transmitOne(): void {
    const slot = this.head;
    const word = slot * 4;
    const command = this.#ring[word + 2]!;
    const at = `transmit slot ${slot}`;
    this.head = (slot + 1) % this.size;
    const endsGroup = slot % RS_EVERY === RS_EVERY - 1;
    if (this.#isLegacy) {
      this.#sendLegacy(word, at, endsGroup);
      return;
    }
    if (((command >>> DTYP_SHIFT) & DTYP_MASK) === DTYP_CONTEXT) {
      this.#takeContext(word, at);
      // A context cannot report, so the next descriptor has to.
      this.#reportOwed = endsGroup;
      return;
    }
    const reports = endsGroup || this.#reportOwed;
    this.#reportOwed = false;
    if (((command >>> DCMD_SHIFT) & DCMD_DEXT) === 0) this.#skipNull(word, at, reports);
    else this.#sendData(word, at, reports);
    // 7.2.3.5: written back only where RS was set. All fields but STA are reserved then: noise.
    if (reports && this.reports) {
      this.#ring.set([0xdead_0000 | 0, 0xdead_0001 | 0, 0xdead_0002 | 0, STA_DD], word);
    }
  }

  /**
   * A frame in one legacy descriptor. Without IC and VLE, CSS (15:8 of word 3) and the VLAN tag (31:16) say nothing; STA and
   * the reserved bits above it are 0. The write-back sets DD and leaves the address alone.
   */
  #sendLegacy(word: number, at: string, reports: boolean): void {
    const [low, high, command, status] = [0, 1, 2, 3].map((i) => this.#ring[word + i]!) as Words;
    assert.is(command & LEGACY_UNUSED, 0, `${at}: CSO, IC, TSE, VLE, IDE`);
    assert.is(command >>> DCMD_SHIFT, DCMD_EOP | DCMD_IFCS | (reports ? DCMD_RS : 0), `${at}: CMD`);
    assert.is(status & 0xff, 0, `${at}: STA and reserved bits`);
    const length = command & DTALEN_MASK;
    if (length === 0) this.nulls++;
    else {
      const buffer = bufferAt(this.#map, low, high, at);
      const { bufferBytes, headroomBytes, memory } = this.#map;
      assert.ok(length >= 17 && length <= bufferBytes - headroomBytes, `${at}: ${length} bytes`);
      const start = buffer * bufferBytes + headroomBytes;
      this.sent.push({ buffer, bytes: memory.slice(start, start + length), offload: {} });
    }
    if (reports && this.reports) this.#ring[word + 3] = (status & ~0xff) | STA_DD;
  }

  /** Legacy descriptor of length 0, 7.2.3.2.2: nothing is sent. */
  #skipNull(word: number, at: string, reports: boolean): void {
    const command = this.#ring[word + 2]!;
    assert.is(command & 0x00ff_ffff, 0, `${at}: no length and no checksum in a null descriptor`);
    assert.is(command >>> DCMD_SHIFT, DCMD_EOP | DCMD_IFCS | (reports ? DCMD_RS : 0), `${at}: null`);
    assert.is(this.#ring[word + 3], 0, `${at}: null, STA, CSS and VLAN`);
    this.nulls++;
  }

  #takeContext(word: number, at: string): void {
    const [lengths, ipsec, command, rest] = [0, 1, 2, 3].map((i) => this.#ring[word + i]!) as Words;
    const tucmd = TUCMD_IPV4 | TUCMD_TCP;
    assert.is(command & ~tucmd, (DTYP_CONTEXT << DTYP_SHIFT) | (DCMD_DEXT << DCMD_SHIFT), `${at}: context`);
    assert.equal([ipsec, rest], [0, 0], `${at}: no IPsec, index 0, no segmentation`);
    this.#context = {
      vlan: lengths >>> 16,
      macBytes: (lengths >>> 9) & 0x7f,
      ipBytes: lengths & 0x1ff,
      isIpv4: (command & TUCMD_IPV4) !== 0,
      l4: (command & TUCMD_TCP) !== 0 ? 'tcp' : 'udp',
    };
  }

  #sendData(word: number, at: string, reports: boolean): void {
    const [low, high, command, status] = [0, 1, 2, 3].map((i) => this.#ring[word + i]!) as Words;
    const buffer = bufferAt(this.#map, low, high, at);
    const length = command & DTALEN_MASK;
    assert.is(command & RESERVED_2, 0, `${at}: reserved and MAC fields`);
    assert.is((command >>> DTYP_SHIFT) & DTYP_MASK, DTYP_DATA, `${at}: DTYP`);
    const always = DCMD_EOP | DCMD_IFCS | DCMD_DEXT | (reports ? DCMD_RS : 0);
    const ownFcs = ((command >>> DCMD_SHIFT) & DCMD_IFCS) === 0;
    assert.is((command >>> DCMD_SHIFT) & ~DCMD_VLE, ownFcs ? always & ~DCMD_IFCS : always, `${at}: DCMD`);
    assert.is(status & BELOW_PAYLEN & ~(CC | POPTS_IXSM | POPTS_TXSM), 0, `${at}: STA, IDX, POPTS`);
    assert.is(status >>> PAYLEN_SHIFT, length, `${at}: PAYLEN is DTALEN`);
    assert.ok(
      length >= 17 && length <= this.#map.bufferBytes - this.#map.headroomBytes,
      `${at}: ${length} bytes`,
    );
    const start = buffer * this.#map.bufferBytes + this.#map.headroomBytes;
    const asked = this.#offloadOf((command >>> DCMD_SHIFT) & DCMD_VLE, status, at);
    const offload = ownFcs ? { ...asked, ownFcs } : asked;
    this.sent.push({ buffer, bytes: this.#map.memory.slice(start, start + length), offload });
  }

  #offloadOf(vle: number, status: number, at: string): Offload {
    const [ip, l4] = [(status & POPTS_IXSM) !== 0, (status & POPTS_TXSM) !== 0];
    const context = this.#context;
    if (vle === 0 && !ip && !l4) return {};
    assert.ok((status & CC) !== 0 && context !== undefined, `${at}: refers to a context`);
    if (ip) assert.ok(context.isIpv4, `${at}: IPv4 by its context`);
    return {
      ...(vle === 0 ? {} : { vlan: context.vlan }),
      ...(ip ? { ipChecksum: true } : {}),
      ...(l4 ? { l4Checksum: context.l4 } : {}),
      ...(ip || l4 ? { macBytes: context.macBytes, ipBytes: context.ipBytes } : {}),
    };
  }

  #tailWritten(value: number): void {
    assert.ok(Number.isInteger(value) && value >= 0 && value < this.size, `TDT ${value} is in the ring`);
    const buffers = this.queuedBuffers();
    assert.is(new Set(buffers).size, buffers.length, 'no buffer is queued twice');
  }
}

/** The buffer at an address: it has to be where a frame starts. */
function bufferAt(map: BufferMap, low: number, high: number, where: string): number {
  const address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const offset = address - map.iova - BigInt(map.headroomBytes);
  assert.ok(
    offset >= 0n && offset < BigInt(map.buffers * map.bufferBytes),
    `${where}: 0x${address.toString(16)} is in the pool`,
  );
  assert.is(offset % BigInt(map.bufferBytes), 0n, `${where}: 0x${address.toString(16)} is a frame's start`);
  return Number(offset / BigInt(map.bufferBytes));
}
