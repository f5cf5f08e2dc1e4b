/**
 * The receive path (7.1): filters, queue choice, DMA into the driver's buffers, descriptor write-back, statistics.
 *
 * `deliver` is called by the sender's burst, so a frame is copied once: from the memory it was sent from into the
 * buffer of this port's driver. Nothing in it allocates.
 */
import type { DeviceHost } from '../../vfio/user/served-device.js';
import { FrameQueue } from '../device/frame-queue.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { type FrameBurst, type FrameMemory, UNLIMITED_ROOM } from '../link.js';
import { CAST, Filters } from './filters.js';
import type { FlowControl } from './flow-control.js';
import { CAUSE, type Interrupts } from './interrupts.js';
import { MacErrors } from './mac-errors.js';
import { FrameParser } from './parser.js';
import {
  HLREG0,
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
import { QueueSet } from './ring-queue.js';
import { Rss } from './rss.js';
import { RxBurst } from './rx-burst.js';
import { DD, EOP, IPCS, IPE, L4CS, L4E, PIF, toLegacy, VP } from './rx-descriptor.js';
import { RxQueue } from './rx-queue.js';
import { RxWriter } from './rx-writer.js';
import { C, type Statistics, sizeClass } from './statistics.js';

const QUEUE_COUNT = 128;
const FCS_BYTES = 4;
const VLAN_BYTES = 4;
/** Frames taken from the packet buffer a poll: bounds the work of one call. */
const DRAIN_LIMIT = 256;

const ETHERTYPE_IPV4 = 0x0800;

const RXCSUM_PCSD = 1 << 13;
const RFCTL_IPV6_XSUM_DIS = 1 << 11;

export class Receiver {
  readonly filters: Filters;
  readonly rss: Rss;
  /** Frames that came while no driver had turned the receiver and the frame's queue on. */
  unheard = 0;

  readonly #registers: RegisterFile;
  readonly #statistics: Statistics;
  readonly #interrupts: Interrupts;
  readonly #counters: Float64Array;
  readonly #parser = new FrameParser();
  readonly #mac: MacErrors;
  readonly #flow: FlowControl;
  readonly #violations: Violations;
  readonly #writer: RxWriter;
  readonly #burst: RxBurst;
  readonly #queues: QueueSet<RxQueue>;
  /** Memory of the packet buffers: 512 KiB, or 384 KiB in an X540. */
  readonly #memoryKib: number;
  /**
   * Where frames wait while their queue has no descriptor and must not drop them (7.1.3; SRRCTL.Drop_En = 0). One for
   * all queues: a full queue holds up the others, as on hardware.
   */
  readonly #packetBuffer = new FrameQueue();
  #host: DeviceHost | undefined;
  #receiving = false;
  #dmaAllowed = false;
  #stripCrc = true;
  #vlanEtherType = 0x8100;

  constructor(
    registers: RegisterFile,
    statistics: Statistics,
    interrupts: Interrupts,
    violations: Violations,
    flow: FlowControl,
    memoryKib: number,
  ) {
    this.#registers = registers;
    this.#violations = violations;
    this.#mac = new MacErrors(registers);
    this.#flow = flow;
    this.#memoryKib = memoryKib;
    this.#statistics = statistics;
    this.#counters = statistics.counters;
    this.#interrupts = interrupts;
    this.filters = new Filters(registers);
    this.rss = new Rss(registers, (mode) =>
      violations.report(
        'MRQC',
        '8.2.3.7.12',
        `MRQE ${mode} (DCB, virtualization) is not emulated; queue 0 is used`,
      ),
    );
    this.#writer = new RxWriter(registers, interrupts, violations, this.#parser, this.rss);
    this.#burst = new RxBurst(registers, statistics, interrupts, this.filters, this.#mac, this.#writer);
    this.#queues = new QueueSet(
      Array.from({ length: QUEUE_COUNT }, (_, i) => new RxQueue(i, registers, violations)),
      registers,
    );
    this.#hookRegisters();
    this.reset();
  }

  #hookRegisters(): void {
    const registers = this.#registers;
    const violations = this.#violations;
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
      if (kibibytes(value) > this.#memoryKib) {
        violations.report(
          `RXPBSIZE(${index})`,
          '8.2.3.8.9',
          `${kibibytes(value)} KiB; the packet buffer has ${this.#memoryKib}`,
        );
      }
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
      this.#queues.sync(this.#queues.all[index]!);
    });
    registers.hook('RDT', undefined, (value, index) => {
      registers.poke(rxQueueBase(index) + RX.RDT, value);
      if ((registers.peek(rxQueueBase(index) + RX.RXDCTL) & QUEUE_ENABLE) === 0 && value !== 0) {
        violations.report(`RDT(${index})`, '4.6.7', 'tail was moved while the queue is disabled');
      } else if (value !== 0) {
        this.#queues.all[index]!.given();
      }
    });
  }

  /** Takes over settings that the packet path needs. Called when one of their registers is written. */
  configure(): void {
    const peek = (offset: number): number => this.#registers.peek(offset);
    this.#mac.configure();
    this.#stripCrc = (peek(HLREG0) & HLREG0_RXCRCSTRP) !== 0;
    this.#writer.writeHash = (peek(RXCSUM) & RXCSUM_PCSD) !== 0;
    this.#vlanEtherType = peek(VLNCTRL) & 0xffff;
    this.#receiving = this.#host !== undefined && (peek(RXCTRL) & RXCTRL_RXEN) !== 0;
  }

  /** A driver has turned the receiver on, and given all queues that it has turned on their first descriptors. */
  get receiving(): boolean {
    const { active } = this.#queues;
    if (!this.#receiving || !this.#dmaAllowed || active.length === 0) return false;
    for (let i = 0; i < active.length; i++) if (!active[i]!.started) return false;
    return true;
  }

  /** Longest frame that is taken, without FCS and VLAN tag. */
  get maxFrameBytes(): number {
    return this.#mac.maxOctets - FCS_BYTES;
  }

  #packetBufferBytes(): number {
    // Without DCB, which is not emulated, all frames go through buffer 0 (4.6.11.3.4).
    return Math.min(kibibytes(this.#registers.peek(RXPBSIZE)), this.#memoryKib) * 1024;
  }

  /** @param dmaAllowed bus master on and GIO master not disabled */
  setHost(host: DeviceHost | undefined, dmaAllowed: boolean): void {
    this.#host = host;
    this.#dmaAllowed = dmaAllowed;
    if (host === undefined) this.#writer.end();
    this.configure();
  }

  reset(): void {
    this.#queues.disableAll();
    this.rss.reset();
    this.#registers.poke(RXPBSIZE, this.#memoryKib << 10);
    this.#packetBuffer.reset(this.#packetBufferBytes());
    this.configure();
  }

  /** Notices what was written to mapped registers, and places frames that waited. @returns frames placed */
  poll(): number {
    this.#queues.notice();
    const placed = this.#packetBuffer.count === 0 ? 0 : this.#drain();
    this.#flow.level(this.#packetBuffer.usedBytes);
    return placed;
  }

  #drain(): number {
    const host = this.#host;
    if (host === undefined || !this.#receiving || !this.#dmaAllowed) return 0;
    this.#writer.begin(host);
    const buffer = this.#packetBuffer;
    let placed = 0;
    while (placed < DRAIN_LIMIT && buffer.count > 0) {
      const { memory, frontOffset, frontLength } = buffer;
      this.#parser.parse(memory, frontOffset, frontLength, this.#vlanEtherType);
      const queue = this.#chooseQueue(memory, frontOffset);
      if (!queue.enabled || !this.#place(queue, memory, frontOffset, frontLength)) {
        // The queue may have been disabled, or told to drop, since the frame came.
        if (queue.enabled && !queue.dropWhenEmpty) break;
        this.#countDropped(queue);
      }
      buffer.pop();
      placed++;
    }
    return placed;
  }

  /** Frames that could be stored for certain: the fullest queue decides, because the frames may all be its. */
  room(): number {
    if (!this.#receiving) return UNLIMITED_ROOM;
    if (this.#packetBuffer.count > 0 || !this.#dmaAllowed) return 0;
    let room = UNLIMITED_ROOM;
    for (const queue of this.#queues.active) {
      const buffersPerFrame = Math.ceil((this.#mac.maxOctets + VLAN_BYTES) / queue.bufferBytes);
      room = Math.min(room, Math.floor(queue.given() / buffersPerFrame));
    }
    return room;
  }

  /** A frame with a wrong FCS arrived: only counted (FCTRL.SBP, storing bad packets, is not emulated). */
  damaged(lengthBytes: number): void {
    if (!this.#receiving) return;
    this.#counters[C.TPR]!++;
    this.#mac.countDamaged(this.#counters, lengthBytes);
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
    const parser = this.#parser;
    parser.parse(memory, offset, lengthBytes, this.#vlanEtherType);
    const error = this.#mac.find(parser, lengthBytes);
    if (error < 0) {
      if (this.#flow.takes(memory, offset, lengthBytes)) return true;
      counters[C.RXNFGPC]!++;
      counters[C.RXNFGBC]! += octets;
    }
    const cast = this.filters.classify(memory.bytes, offset);
    if (cast === CAST.REJECTED) return true;
    if (parser.vlanTag >= 0 && !this.filters.takesVlan(parser.vlanTag)) return true;
    // The counters of wrong lengths have what passed the address filters (8.2.3.23).
    if (error >= 0) {
      counters[error]!++;
      return true;
    }
    return this.#accept(host, memory, offset, lengthBytes, cast);
  }

  /** Frames that the port gets at once: the usual ones together, each of the others by itself. */
  deliverBurst(burst: FrameBurst): void {
    const host = this.#host;
    const { memory, offsets, lengths, count } = burst;
    let done = 0;
    while (done < count) {
      if (host !== undefined && this.#takesBursts()) {
        this.#writer.begin(host);
        done += this.#burst.store(this.#queues.all[0]!, burst, done);
        if (done === count) return;
      }
      this.deliver(memory, offsets[done]!, lengths[done]!);
      done++;
    }
  }

  /** Whether usual frames go straight to queue 0, as they are. */
  #takesBursts(): boolean {
    return (
      this.#receiving &&
      this.#dmaAllowed &&
      this.#stripCrc &&
      !this.rss.enabled &&
      this.#packetBuffer.count === 0 &&
      this.#vlanEtherType !== ETHERTYPE_IPV4
    );
  }

  #countDropped(queue: RxQueue): void {
    this.#counters[C.QPRDC + this.#statistics.rxSet[queue.index]!]!++;
  }

  #chooseQueue(memory: FrameMemory, offset: number): RxQueue {
    return this.#queues.all[this.rss.enabled ? this.rss.queueFor(this.#parser, memory.bytes, offset) : 0]!;
  }

  #accept(host: DeviceHost, memory: FrameMemory, offset: number, lengthBytes: number, cast: number): boolean {
    const queue = this.#chooseQueue(memory, offset);
    // A driver that saw its ENABLE in mapped memory expects frames from then on, not from the next poll on.
    if (!queue.enabled) this.#queues.sync(queue);
    this.#writer.begin(host);
    this.#count(lengthBytes, cast);
    let stored = true;
    if (!queue.enabled) {
      // 4.6.7: packets to a disabled queue are dropped. ASSUMED: QPRDC counts them, as the 82598's RNBC did by its text.
      this.unheard++;
      this.#countDropped(queue);
      return false;
    }
    if (this.#packetBuffer.count > 0 || !this.#dmaAllowed)
      stored = this.#packetBuffer.push(memory, offset, lengthBytes);
    else if (!this.#place(queue, memory, offset, lengthBytes)) {
      if (queue.dropWhenEmpty) {
        this.#countDropped(queue);
        return false;
      }
      stored = this.#packetBuffer.push(memory, offset, lengthBytes);
    }
    if (this.#packetBuffer.count > 0) this.#flow.level(this.#packetBuffer.usedBytes);
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
      this.#queues.sync(queue);
      this.#countDropped(queue);
      return true;
    }
    const stripVlan = queue.stripVlan && this.#parser.vlanTag >= 0;
    const storedBytes = lengthBytes - (stripVlan ? VLAN_BYTES : 0) + (this.#stripCrc ? 0 : FCS_BYTES);
    const free = queue.given();
    if (free === 0 || storedBytes > free * queue.bufferBytes) return false;
    this.#parser.checkTransport(memory, offset);
    let status = this.#status(stripVlan);
    if (!queue.advanced) status = toLegacy(status);
    const tag = stripVlan ? this.#parser.vlanTag << 16 : 0;
    if (storedBytes === lengthBytes && lengthBytes <= queue.bufferBytes) {
      this.#writer.store(queue, memory, offset, lengthBytes, status | DD | EOP, tag);
    } else {
      const keepFcs = !this.#stripCrc;
      this.#writer.storePieces(
        queue,
        memory,
        offset,
        lengthBytes,
        storedBytes,
        stripVlan,
        keepFcs,
        status,
        tag,
      );
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
}

/** RXPBSIZE.SIZE, bits 19:10. */
function kibibytes(size: number): number {
  return (size >>> 10) & 0x3ff;
}
