/**
 * The receive path (7.1): filters, queue choice, DMA into the driver's buffers, descriptor write-back, statistics.
 *
 * `deliver` is called by the sender's burst, so a frame is copied once: from the memory it was sent from into the
 * buffer of this port's driver. Nothing in it allocates.
 */
import type { DeviceHost } from '../../vfio/user/served-device.js';
import { DmaChannel, iovaOf } from '../device/dma.js';
import { FrameQueue } from '../device/frame-queue.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { copyBytes, type FrameMemory, frameMemory, UNLIMITED_ROOM } from '../link.js';
import { crc32 } from './checksum.js';
import { CAST, Filters } from './filters.js';
import { CAUSE, type Interrupts } from './interrupts.js';
import { FrameParser } from './parser.js';
import {
  HLREG0,
  HLREG0_JUMBOEN,
  HLREG0_RXCRCSTRP,
  MAXFRS,
  QUEUE_ENABLE,
  QUEUE_SWFLSH,
  RFCTL,
  RX,
  RXCSUM,
  RXCTRL,
  RXCTRL_RXEN,
  RXPBSIZE,
  rxQueueBase,
  VLNCTRL,
} from './registers.js';
import { Rss } from './rss.js';
import { DD, EOP, IPCS, IPE, L4CS, L4E, PIF, toLegacy, VP } from './rx-descriptor.js';
import { RxQueue } from './rx-queue.js';
import { C, type Statistics, sizeClass } from './statistics.js';

const QUEUE_COUNT = 128;
const FCS_BYTES = 4;
const MIN_OCTETS = 64;
const STANDARD_MAX_OCTETS = 1518;
const VLAN_BYTES = 4;
/** Largest frame the port handles (7.1.1.4: 15.5 KiB), and some space for tags and FCS. */
const SCRATCH_BYTES = 16384;
/** Frames taken from the packet buffer a poll: bounds the work of one call. */
const DRAIN_LIMIT = 256;
/** Queues examined for having been enabled, a poll. Enabled ones are examined at every poll. */
const SCAN_STEP = 32;

const RXCSUM_PCSD = 1 << 13;
const RFCTL_IPV6_XSUM_DIS = 1 << 11;

export class Receiver {
  readonly filters: Filters;
  readonly rss: Rss;
  readonly queues: readonly RxQueue[];
  /** Frames that came while no driver had turned the receiver and the frame's queue on. */
  unheard = 0;

  readonly #registers: RegisterFile;
  readonly #statistics: Statistics;
  readonly #interrupts: Interrupts;
  readonly #counters: Float64Array;
  readonly #parser = new FrameParser();
  readonly #rings: DmaChannel;
  readonly #buffers: DmaChannel;
  /**
   * Where frames wait while their queue has no descriptor and must not drop them (7.1.3; SRRCTL.Drop_En = 0). One for
   * all queues: a full queue holds up the others, as on hardware.
   */
  readonly #packetBuffer = new FrameQueue();
  readonly #scratch = frameMemory(SCRATCH_BYTES);
  #active: RxQueue[] = [];
  #scanAt = 0;
  #host: DeviceHost | undefined;
  #receiving = false;
  #dmaAllowed = false;
  #maxOctets = STANDARD_MAX_OCTETS;
  #stripCrc = true;
  #writeHash = false;
  #vlanEtherType = 0x8100;

  constructor(
    registers: RegisterFile,
    statistics: Statistics,
    interrupts: Interrupts,
    violations: Violations,
  ) {
    this.#registers = registers;
    this.#statistics = statistics;
    this.#counters = statistics.counters;
    this.#interrupts = interrupts;
    this.#rings = new DmaChannel('write', 'RX descriptor', violations);
    this.#buffers = new DmaChannel('write', 'RX buffer', violations);
    this.filters = new Filters(registers);
    this.rss = new Rss(registers, (mode) =>
      violations.report(
        'MRQC',
        '8.2.3.7.12',
        `MRQE ${mode} (DCB, virtualization) is not emulated; queue 0 is used`,
      ),
    );
    this.queues = Array.from({ length: QUEUE_COUNT }, (_, i) => new RxQueue(i, registers, violations));
    this.#hookRegisters(violations);
    this.#packetBuffer.reset(this.#packetBufferBytes());
    this.configure();
  }

  #hookRegisters(violations: Violations): void {
    const registers = this.#registers;
    const storage = (offset: number) => (value: number) => {
      registers.poke(offset, value);
      this.configure();
    };
    for (const [name, offset] of [
      ['RXCTRL', RXCTRL],
      ['MAXFRS', MAXFRS],
      ['VLNCTRL', VLNCTRL],
      ['RXCSUM', RXCSUM],
      ['RFCTL', RFCTL],
    ] as const) {
      registers.hook(name, undefined, storage(offset));
    }
    registers.hook('RXPBSIZE', undefined, (value, index) => {
      registers.poke(RXPBSIZE + index * 4, value);
      this.#packetBuffer.reset(this.#packetBufferBytes());
    });
    // SRRCTL of queues 0-15 also lies at 0x2100, and DCA_RXCTRL at 0x2200, where the 82598 had them.
    for (const [name, part] of [
      ['SRRCTL', RX.SRRCTL],
      ['DCA_RXCTRL', 0x0c],
    ] as const) {
      registers.hook(
        name,
        (index) => registers.peek(rxQueueBase(index) + part),
        (value, index) => registers.poke(rxQueueBase(index) + part, value),
      );
    }
    registers.hook('RXDCTL', undefined, (value, index) => {
      registers.poke(rxQueueBase(index) + RX.RXDCTL, value & ~QUEUE_SWFLSH);
      this.#syncQueue(this.queues[index]!);
    });
    registers.hook('RDT', undefined, (value, index) => {
      registers.poke(rxQueueBase(index) + RX.RDT, value);
      if ((registers.peek(rxQueueBase(index) + RX.RXDCTL) & QUEUE_ENABLE) === 0 && value !== 0) {
        violations.report(`RDT(${index})`, '4.6.7', 'tail was moved while the queue is disabled');
      } else if (value !== 0) {
        this.queues[index]!.free();
      }
    });
  }

  /** Takes over settings that the packet path needs. Called when one of their registers is written. */
  configure(): void {
    const peek = (offset: number): number => this.#registers.peek(offset);
    const jumbo = (peek(HLREG0) & HLREG0_JUMBOEN) !== 0;
    this.#maxOctets = jumbo ? Math.min(peek(MAXFRS) >>> 16, SCRATCH_BYTES - 8) : STANDARD_MAX_OCTETS;
    this.#stripCrc = (peek(HLREG0) & HLREG0_RXCRCSTRP) !== 0;
    this.#writeHash = (peek(RXCSUM) & RXCSUM_PCSD) !== 0;
    this.#vlanEtherType = peek(VLNCTRL) & 0xffff;
    this.#receiving = this.#host !== undefined && (peek(RXCTRL) & RXCTRL_RXEN) !== 0;
  }

  /** A driver has turned the receiver on, and given all queues that it has turned on their first descriptors. */
  get receiving(): boolean {
    const active = this.#active;
    if (!this.#receiving || !this.#dmaAllowed || active.length === 0) return false;
    for (let i = 0; i < active.length; i++) if (!active[i]!.started) return false;
    return true;
  }

  /** Longest frame that is taken, without FCS and VLAN tag. */
  get maxFrameBytes(): number {
    return this.#maxOctets - FCS_BYTES;
  }

  #packetBufferBytes(): number {
    let kibibytes = 0;
    for (let i = 0; i < 8; i++) kibibytes += (this.#registers.peek(RXPBSIZE + i * 4) >>> 10) & 0x3ff;
    return Math.min(kibibytes, 512) * 1024;
  }

  /** @param dmaAllowed bus master on and GIO master not disabled */
  setHost(host: DeviceHost | undefined, dmaAllowed: boolean): void {
    this.#host = host;
    this.#dmaAllowed = dmaAllowed;
    if (host === undefined) {
      this.#rings.end();
      this.#buffers.end();
    }
    this.configure();
  }

  reset(): void {
    for (const queue of this.queues) queue.disable();
    this.#active = [];
    this.rss.reset();
    this.#packetBuffer.reset(this.#packetBufferBytes());
    this.configure();
  }

  #syncQueue(queue: RxQueue): void {
    queue.sync();
    const listed = this.#active.includes(queue);
    if (queue.enabled && !listed) this.#active.push(queue);
    else if (!queue.enabled && listed) this.#active = this.#active.filter((other) => other !== queue);
  }

  /** Notices what was written to mapped registers, and places frames that waited. @returns frames placed */
  poll(): number {
    const active = this.#active;
    for (let i = active.length - 1; i >= 0; i--) this.#syncQueue(active[i]!);
    const words = this.#registers.words;
    for (let n = 0; n < SCAN_STEP; n++) {
      const queue = this.queues[this.#scanAt]!;
      this.#scanAt = (this.#scanAt + 1) % QUEUE_COUNT;
      if (!queue.enabled && (words[queue.controlWord]! & QUEUE_ENABLE) !== 0) this.#syncQueue(queue);
    }
    return this.#packetBuffer.count === 0 ? 0 : this.#drain();
  }

  #drain(): number {
    const host = this.#host;
    if (host === undefined || !this.#receiving || !this.#dmaAllowed) return 0;
    this.#beginDma(host);
    const buffer = this.#packetBuffer;
    let placed = 0;
    while (placed < DRAIN_LIMIT && buffer.count > 0) {
      const { memory, frontOffset, frontLength } = buffer;
      this.#parser.parse(memory, frontOffset, frontLength, this.#vlanEtherType);
      const queue = this.#chooseQueue(memory, frontOffset);
      if (queue.enabled && !this.#place(queue, memory, frontOffset, frontLength)) break;
      buffer.pop();
      placed++;
    }
    return placed;
  }

  #beginDma(host: DeviceHost): void {
    this.#rings.begin(host);
    this.#buffers.begin(host);
  }

  /** Frames that could be stored for certain: the fullest queue decides, because the frames may all be its. */
  room(): number {
    if (!this.#receiving) return UNLIMITED_ROOM;
    if (this.#packetBuffer.count > 0 || !this.#dmaAllowed) return 0;
    let room = UNLIMITED_ROOM;
    for (const queue of this.#active) {
      const buffersPerFrame = Math.ceil((this.#maxOctets + VLAN_BYTES) / queue.bufferBytes);
      room = Math.min(room, Math.floor(queue.free() / buffersPerFrame));
    }
    return room;
  }

  /** A frame with a wrong FCS arrived: only counted (FCTRL.SBP, storing bad packets, is not emulated). */
  damaged(lengthBytes: number): void {
    if (!this.#receiving) return;
    this.#counters[C.TPR]!++;
    this.#counters[C.CRCERRS]!++;
    if (lengthBytes + FCS_BYTES < MIN_OCTETS) this.#counters[C.RUC]!++;
  }

  /** @returns false where the frame was lost for lack of descriptors or buffer space */
  deliver(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    const host = this.#host;
    if (!this.#receiving || host === undefined) {
      this.unheard++;
      return true;
    }
    const counters = this.#counters;
    const octets = lengthBytes + FCS_BYTES;
    counters[C.TPR]!++;
    if (octets < MIN_OCTETS) {
      counters[C.RUC]!++;
      counters[C.RLEC]!++;
      return true;
    }
    const parser = this.#parser;
    parser.parse(memory, offset, lengthBytes, this.#vlanEtherType);
    if (octets > this.#maxOctets + (parser.vlanTag >= 0 ? VLAN_BYTES : 0)) {
      counters[C.ROC]!++;
      counters[C.RLEC]!++;
      return true;
    }
    counters[C.RXNFGPC]!++;
    counters[C.RXNFGBC]! += octets;
    const cast = this.filters.classify(memory.bytes, offset);
    if (cast === CAST.REJECTED) return true;
    if (parser.vlanTag >= 0 && !this.filters.takesVlan(parser.vlanTag)) return true;
    return this.#accept(host, memory, offset, lengthBytes, cast);
  }

  #chooseQueue(memory: FrameMemory, offset: number): RxQueue {
    return this.queues[this.rss.enabled ? this.rss.queueFor(this.#parser, memory.bytes, offset) : 0]!;
  }

  #accept(host: DeviceHost, memory: FrameMemory, offset: number, lengthBytes: number, cast: number): boolean {
    const queue = this.#chooseQueue(memory, offset);
    // A driver that saw its ENABLE in mapped memory expects frames from then on, not from the next poll on.
    if (!queue.enabled) this.#syncQueue(queue);
    this.#beginDma(host);
    this.#count(lengthBytes, cast);
    let stored = true;
    if (!queue.enabled) this.unheard++;
    else if (this.#packetBuffer.count > 0 || !this.#dmaAllowed)
      stored = this.#packetBuffer.push(memory, offset, lengthBytes);
    else if (!this.#place(queue, memory, offset, lengthBytes)) {
      if (queue.dropWhenEmpty) {
        this.#counters[C.QPRDC + this.#statistics.rxSet[queue.index]!]!++;
        return false;
      }
      stored = this.#packetBuffer.push(memory, offset, lengthBytes);
    }
    if (stored) return true;
    this.#counters[C.MPC0]!++;
    this.#interrupts.otherCause(CAUSE.RX_MISS);
    return false;
  }

  /**
   * Good frames, also those that get lost afterwards: GPRC of the hardware counts them although its description (8.2.3.23)
   * does not say so, and the drivers of Linux and DPDK take the missed ones out again.
   */
  #count(lengthBytes: number, cast: number): void {
    const counters = this.#counters;
    const octets = lengthBytes + FCS_BYTES;
    counters[C.GPRC]!++;
    counters[C.GORC]! += octets;
    counters[C.TOR]! += octets;
    counters[C.PRC64 + sizeClass(octets)]!++;
    if (cast === CAST.BROADCAST) counters[C.BPRC]!++;
    else if (cast === CAST.MULTICAST) counters[C.MPRC]!++;
  }

  /** Puts a frame into the queue's next buffers. @returns false where it has too few descriptors */
  #place(queue: RxQueue, memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    if ((this.#registers.words[queue.controlWord]! & QUEUE_ENABLE) === 0) {
      this.#syncQueue(queue);
      return true;
    }
    const stripVlan = queue.stripVlan && this.#parser.vlanTag >= 0;
    const storedBytes = lengthBytes - (stripVlan ? VLAN_BYTES : 0) + (this.#stripCrc ? 0 : FCS_BYTES);
    const free = queue.free();
    if (free === 0 || storedBytes > free * queue.bufferBytes) return false;
    this.#parser.checkTransport(memory, offset);
    let status = this.#status(stripVlan);
    if (!queue.advanced) status = toLegacy(status);
    const tag = stripVlan ? this.#parser.vlanTag << 16 : 0;
    if (storedBytes === lengthBytes && lengthBytes <= queue.bufferBytes) {
      this.#store(queue, memory, offset, lengthBytes, status | DD | EOP, tag);
    } else {
      this.#storePieces(queue, memory, offset, lengthBytes, storedBytes, stripVlan, status, tag);
    }
    const counters = this.#counters;
    const set = this.#statistics.rxSet[queue.index]!;
    counters[C.QPRC + set]!++;
    counters[C.QBRC + set]! += storedBytes;
    counters[C.RXDGPC]!++;
    counters[C.RXDGBC]! += storedBytes;
    this.#interrupts.queueCause(this.#interrupts.rxVector[queue.index]!);
    return true;
  }

  /** Checksum, VLAN and filter bits of the last descriptor of a frame. */
  #status(stripVlan: boolean): number {
    const parser = this.#parser;
    let status = stripVlan ? VP : 0;
    if (this.filters.inexact) status |= PIF;
    if (parser.ipChecksumChecked) {
      status |= IPCS;
      if (parser.ipChecksumBad) status |= IPE;
    }
    if (
      parser.l4ChecksumChecked &&
      !(parser.isIpv6 && (this.#registers.peek(RFCTL) & RFCTL_IPV6_XSUM_DIS) !== 0)
    ) {
      status |= L4CS;
      if (parser.l4ChecksumBad) status |= L4E;
    }
    return status;
  }

  /** One buffer and its descriptor. The word with DD is written last: the driver polls it from another core. */
  #store(
    queue: RxQueue,
    memory: FrameMemory,
    offset: number,
    sizeBytes: number,
    status: number,
    tag: number,
  ): void {
    const head = queue.head;
    const rings = this.#rings;
    const descriptorIova = queue.ringIova + head * 16;
    const at = rings.locate(descriptorIova, 16);
    if (at < 0) {
      // The address of the buffer is unknown, so hardware would stop here as well.
      rings.fault(descriptorIova, 16);
      this.#interrupts.otherCause(CAUSE.PCI);
    } else {
      const words = rings.memory.words;
      const d = at / 4;
      const buffers = this.#buffers;
      const bufferIova = iovaOf(words[d]!, words[d + 1]!);
      const to = buffers.locate(bufferIova, sizeBytes);
      if (to >= 0) copyBytes(memory, offset, buffers.memory, to, sizeBytes);
      else if (!buffers.write(bufferIova, memory, offset, sizeBytes)) this.#interrupts.otherCause(CAUSE.PCI);
      if (queue.advanced) {
        words[d] = (status & EOP) === 0 ? 0 : this.#parser.type | (this.#writeHash ? this.rss.type : 0);
        words[d + 1] = this.#writeHash && (status & EOP) !== 0 ? this.rss.hash : 0;
        words[d + 3] = sizeBytes | tag;
        words[d + 2] = status;
      } else {
        // The fragment checksum (31:16) is not computed.
        words[d + 2] = sizeBytes;
        words[d + 3] = status | tag;
      }
    }
    const next = head + 1 === queue.count ? 0 : head + 1;
    queue.head = next;
    this.#registers.words[queue.headWord] = next;
  }

  /** Frames that need several buffers, lose their VLAN tag, or keep their FCS. */
  #storePieces(
    queue: RxQueue,
    memory: FrameMemory,
    offset: number,
    lengthBytes: number,
    storedBytes: number,
    stripVlan: boolean,
    status: number,
    tag: number,
  ): void {
    const scratch = this.#scratch;
    if (stripVlan) {
      copyBytes(memory, offset, scratch, 0, 12);
      copyBytes(memory, offset + 12 + VLAN_BYTES, scratch, 12, lengthBytes - 12 - VLAN_BYTES);
    } else {
      copyBytes(memory, offset, scratch, 0, lengthBytes);
    }
    if (!this.#stripCrc) {
      const fcs = crc32(memory.bytes, offset, lengthBytes);
      for (let i = 0; i < FCS_BYTES; i++) scratch.bytes[storedBytes - FCS_BYTES + i] = fcs >>> (8 * i);
    }
    for (let done = 0; done < storedBytes; ) {
      const piece = Math.min(storedBytes - done, queue.bufferBytes);
      const last = done + piece === storedBytes;
      this.#store(queue, scratch, done, piece, last ? status | DD | EOP : DD, last ? tag : 0);
      done += piece;
    }
  }
}
