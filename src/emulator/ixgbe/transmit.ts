/**
 * The transmit path (7.2): descriptors, offloads, write-back, statistics.
 *
 * A frame in one buffer that asks for no offload, the usual case of a forwarder, is handed to the link where it lies.
 * All others are gathered first. A frame is looked at only when all its descriptors are before the tail.
 */
import type { Clock } from '../../clock.js';
import type { DeviceHost } from '../../vfio/user/served-device.js';
import { DmaChannel, iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { deliverBurst, type FrameMemory, frameMemory, type Port, UNLIMITED_ROOM } from '../link.js';
import { crc32 } from './checksum.js';
import type { FlowControl } from './flow-control.js';
import { CAUSE, type Interrupts } from './interrupts.js';
import { insertLegacyChecksum, insertVlan, Offload } from './offload.js';
import { QueueRates } from './queue-rates.js';
import {
  DMATXCTL,
  DMATXCTL_TE,
  HLREG0,
  HLREG0_TXCRCEN,
  HLREG0_TXPADEN,
  QUEUE_ENABLE,
  QUEUE_SWFLSH,
  RTTDCS,
  RTTDCS_ARBDIS,
  TX,
  TXPBSIZE,
  TXPBTHRESH,
  txQueueBase,
} from './registers.js';
import { QueueSet } from './ring-queue.js';
import { C, type Statistics, sizeClass } from './statistics.js';
import { isBroadcast, TxBurst } from './tx-burst.js';
import {
  DD,
  DEXT,
  DTYP_SHIFT,
  EOP,
  IC,
  IFCS,
  isContext,
  isData,
  PLAIN,
  PLAIN_MASK,
  POPTS,
  POPTS_IXSM,
  POPTS_TXSM,
  RS,
  TSE,
  VLE,
} from './tx-descriptor.js';
import { TxQueue } from './tx-queue.js';

const QUEUE_COUNT = 128;
const FCS_BYTES = 4;
const MIN_FRAME_BYTES = 60;
/** Largest frame without segmentation (7.2.1.1: 15.5 KiB). */
const MAX_FRAME_BYTES = 15872;
/** Headers and payload of a segmented send (7.2.4: 256 KiB of payload). */
const MAX_TSO_BYTES = 262144 + 256;

export class Transmitter {
  readonly #queues: QueueSet<TxQueue>;

  readonly #registers: RegisterFile;
  readonly #statistics: Statistics;
  readonly #counters: Float64Array;
  readonly #interrupts: Interrupts;
  readonly #rings: DmaChannel;
  readonly #buffers: DmaChannel;
  readonly #headWriteBack: DmaChannel;
  readonly #burst: TxBurst;
  readonly #offload = new Offload();
  readonly #flow: FlowControl;
  readonly #rates: QueueRates;
  /** A queue's rate holds frames back. */
  #waiting = false;
  #gather: FrameMemory = frameMemory(MAX_FRAME_BYTES + 512);
  #nextQueue = 0;
  #host: DeviceHost | undefined;
  #sending = false;
  #dmaAllowed = false;
  #padShort = true;
  #appendFcs = true;
  /** What fits between the packet buffer's threshold and its end. */
  #longestFrame = MAX_FRAME_BYTES;
  #vlanEtherType = 0x8100;
  #out: Port | undefined;
  #flowControl = false;
  /** Frames the link takes in this poll; counts down. */
  #room = 0;

  constructor(
    registers: RegisterFile,
    statistics: Statistics,
    interrupts: Interrupts,
    violations: Violations,
    flow: FlowControl,
    clock: Clock,
  ) {
    this.#flow = flow;
    this.#rates = new QueueRates(registers, clock, QUEUE_COUNT);
    flow.onPause = () => {
      this.#room = 0;
    };
    this.#registers = registers;
    this.#statistics = statistics;
    this.#counters = statistics.counters;
    this.#interrupts = interrupts;
    this.#rings = new DmaChannel('write', 'TX descriptor', violations);
    this.#buffers = new DmaChannel('read', 'TX buffer', violations);
    this.#headWriteBack = new DmaChannel('write', 'TX head write-back', violations);
    this.#burst = new TxBurst(registers, statistics, this.#rings, this.#buffers, (iova, head) =>
      this.#writeHead(iova, head),
    );
    this.#queues = new QueueSet(
      Array.from({ length: QUEUE_COUNT }, (_, i) => new TxQueue(i, registers, violations)),
      registers,
    );
    this.#hookRegisters(violations);
    this.configure();
  }

  #hookRegisters(violations: Violations): void {
    const registers = this.#registers;
    for (const [name, offset] of [
      ['DMATXCTL', DMATXCTL],
      ['RTTDCS', RTTDCS],
      ['TXPBSIZE', TXPBSIZE],
      ['TXPBTHRESH', TXPBTHRESH],
    ] as const) {
      registers.hook(name, undefined, (value, index) => {
        registers.poke(offset + 4 * index, value);
        this.configure();
      });
    }
    registers.hook('TXDCTL', undefined, (value, index) => {
      registers.poke(txQueueBase(index) + TX.TXDCTL, value & ~QUEUE_SWFLSH);
      if ((value & QUEUE_ENABLE) !== 0 && (registers.peek(DMATXCTL) & DMATXCTL_TE) === 0) {
        violations.report(`TXDCTL(${index})`, '4.6.8', 'queue enabled before DMATXCTL.TE was set');
      }
      this.#rates.restart(index);
      this.#queues.sync(this.#queues.all[index]!);
    });
    registers.hook('TDT', undefined, (value, index) => {
      registers.poke(txQueueBase(index) + TX.TDT, value);
      if ((registers.peek(txQueueBase(index) + TX.TXDCTL) & QUEUE_ENABLE) === 0 && value !== 0) {
        violations.report(`TDT(${index})`, '4.6.8', 'tail was moved while the queue is disabled');
      } else if (value !== 0) {
        this.#queues.all[index]!.given();
      }
    });
  }

  /** Takes over settings that the packet path needs. Called when one of their registers is written. */
  configure(): void {
    const mac = this.#registers.peek(HLREG0);
    const control = this.#registers.peek(DMATXCTL);
    this.#padShort = (mac & HLREG0_TXPADEN) !== 0;
    this.#appendFcs = (mac & HLREG0_TXCRCEN) !== 0;
    this.#vlanEtherType = control >>> 16;
    const spareKib =
      ((this.#registers.peek(TXPBSIZE) >>> 10) & 0x3ff) - (this.#registers.peek(TXPBTHRESH) & 0x3ff);
    this.#longestFrame = Math.max(0, spareKib * 1024 - FCS_BYTES);
    const arbiterOff = (this.#registers.peek(RTTDCS) & RTTDCS_ARBDIS) !== 0;
    this.#sending =
      this.#host !== undefined && this.#dmaAllowed && (control & DMATXCTL_TE) !== 0 && !arbiterOff;
  }

  setHost(host: DeviceHost | undefined, dmaAllowed: boolean): void {
    this.#host = host;
    this.#dmaAllowed = dmaAllowed;
    if (host === undefined) {
      for (const channel of [this.#rings, this.#buffers, this.#headWriteBack]) channel.end();
    }
    this.configure();
  }

  /** Where frames go; undefined: the link is down, frames are lost. */
  setOut(out: Port | undefined, flowControl: boolean): void {
    this.#out = out;
    this.#flowControl = flowControl;
  }

  reset(): void {
    this.#queues.disableAll();
    this.#rates.reset();
    this.#waiting = false;
    this.configure();
  }

  /** Frames wait for their time, at the rate of their queue: polls are needed though nothing comes. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Sends up to `budget` frames, a share from each queue in turn. @returns frames sent */
  poll(budget: number): number {
    this.#queues.notice();
    const host = this.#host;
    this.#waiting = false;
    if (!this.#sending || host === undefined) return 0;
    this.#rates.begin();
    if (this.#flow.paused()) {
      this.#holdAll();
      return 0;
    }
    this.#rings.begin(host);
    this.#buffers.begin(host);
    this.#headWriteBack.begin(host);
    const out = this.#out;
    this.#room = out === undefined || !this.#flowControl ? UNLIMITED_ROOM : out.room();
    const { active } = this.#queues;
    const queueCount = active.length;
    let sent = 0;
    for (let n = 0; n < queueCount && sent < budget && this.#room > 0; n++) {
      const queue = active[(this.#nextQueue + n) % queueCount]!;
      sent += this.#sendFrom(queue, Math.ceil((budget - sent) / (queueCount - n)));
    }
    if (this.#room <= 0) this.#holdAll();
    if (queueCount > 0) this.#nextQueue = (this.#nextQueue + 1) % queueCount;
    if (sent > 0) out?.flush();
    return sent;
  }

  /** Nothing may be sent: queues with a rate lose their time. */
  #holdAll(): void {
    for (const { index } of this.#queues.active) if (this.#rates.limits(index)) this.#rates.held(index);
  }

  #sendFrom(queue: TxQueue, budget: number): number {
    if (this.#rates.limits(queue.index)) return this.#sendAtRate(queue, budget);
    return this.#sendGiven(queue, budget);
  }

  /** Sends frames of a queue with a rate whose times have come. */
  #sendAtRate(queue: TxQueue, budget: number): number {
    const rates = this.#rates;
    const { index } = queue;
    let sent = 0;
    while (sent < budget && rates.isDue(index)) {
      const frames = this.#sendGiven(queue, 1);
      if (frames === 0) break;
      sent += frames;
    }
    if (queue.given() === 0) rates.emptied(index);
    else if (!rates.isDue(index)) this.#waiting = true;
    return sent;
  }

  #sendGiven(queue: TxQueue, budget: number): number {
    let pending = queue.given();
    let sent = 0;
    const registerWords = this.#registers.words;
    while (pending > 0 && sent < budget && this.#room > 0 && !queue.stopped) {
      if ((registerWords[queue.controlWord]! & QUEUE_ENABLE) === 0) break;
      const burst = this.#sendBurst(queue, Math.min(pending, budget - sent, this.#room));
      if (burst > 0) {
        pending -= burst;
        sent += burst;
        continue;
      }
      const rings = this.#rings;
      const at = rings.locate(queue.ringIova + queue.head * 16, 16);
      if (at < 0) {
        this.#stop(queue, queue.ringIova + queue.head * 16);
        break;
      }
      const words = rings.memory.words;
      const d = at / 4;
      const command = words[d + 2]!;
      let used: number;
      if ((command & PLAIN_MASK) === PLAIN && (words[d + 3]! & POPTS) === 0 && this.#appendFcs) {
        this.#sendPlain(queue, iovaOf(words[d]!, words[d + 1]!), command & 0xffff, words[d + 3]! >>> 14);
        this.#complete(queue, words, d, command);
        used = 1;
        sent++;
      } else if (isContext(command)) {
        this.#context(queue, words, d);
        this.#complete(queue, words, d, command);
        used = 1;
      } else {
        used = this.#sendGathered(queue, pending);
        if (used === 0) break;
        sent++;
      }
      pending -= used;
    }
    return sent;
  }

  /** Usual frames, together. @returns how many; 0 where the next one is not usual */
  #sendBurst(queue: TxQueue, limit: number): number {
    const out = this.#out;
    if (out === undefined || !this.#appendFcs) return 0;
    const burst = this.#burst;
    // A pause may begin with any frame.
    const most = this.#flow.obeys ? 1 : limit;
    if (this.#rates.limits(queue.index)) return 0;
    const longest = Math.min(this.#longestFrame, MAX_FRAME_BYTES);
    const count = burst.gather(queue, most, MIN_FRAME_BYTES, longest);
    if (count === 0) return 0;
    this.#room -= count;
    burst.count(queue);
    deliverBurst(out, burst.frames);
    if (burst.complete(queue)) this.#interrupts.queueCause(this.#interrupts.txVector[queue.index]!);
    return count;
  }

  #stop(queue: TxQueue, iova: number): void {
    this.#rings.fault(iova, 16);
    queue.stopped = true;
    this.#interrupts.otherCause(CAUSE.PCI);
  }

  #context(queue: TxQueue, words: Int32Array, d: number): void {
    const slot = ((words[d + 3]! >>> 4) & 1) * 4;
    for (let i = 0; i < 4; i++) queue.contexts[slot + i] = words[d + i]!;
    if ((words[d + 3]! & (6 << 4)) !== 0)
      queue.reportDescriptor('IDX', '7.2.3.2.3', 'context index is over 1');
  }

  /** A frame in one buffer: no copy on this side. */
  #sendPlain(queue: TxQueue, iova: number, lengthBytes: number, payloadBytes: number): void {
    if (payloadBytes !== lengthBytes) {
      queue.reportDescriptor(
        'PAYLEN',
        '7.2.3.2.4',
        `PAYLEN ${payloadBytes} is not the frame's length ${lengthBytes}`,
      );
    }
    if (!this.#checkBuffer(queue, iova, lengthBytes) || !this.#checkLength(queue, lengthBytes)) return;
    const buffers = this.#buffers;
    const at = lengthBytes >= MIN_FRAME_BYTES ? buffers.locate(iova, lengthBytes) : -1;
    if (at >= 0) {
      this.#emit(queue, buffers.memory, at, lengthBytes);
    } else if (buffers.read(iova, this.#gather, 0, lengthBytes)) {
      this.#emitPadded(queue, this.#gather, lengthBytes);
    } else {
      this.#interrupts.otherCause(CAUSE.PCI);
    }
  }

  #checkBuffer(queue: TxQueue, iova: number, lengthBytes: number): boolean {
    if (iova === 0) queue.reportDescriptor('ADDR', '7.2.3.2.4', 'buffer address is 0');
    if (lengthBytes === 0) queue.reportDescriptor('DTALEN', '7.2.3.2.4', 'buffer length is 0');
    return lengthBytes > 0;
  }

  #checkLength(queue: TxQueue, lengthBytes: number): boolean {
    if (lengthBytes < 14)
      queue.reportDescriptor('PAYLEN', '7.2.1.1', 'frame is shorter than an Ethernet header');
    if (lengthBytes > this.#longestFrame) {
      queue.reportDescriptor(
        'PAYLEN',
        '8.2.3.9.16',
        `frame is longer than what TXPBTHRESH(0) leaves of the packet buffer, ${this.#longestFrame} bytes`,
      );
    }
    if (lengthBytes > MAX_FRAME_BYTES) queue.reportDescriptor('PAYLEN', '7.2.1.1', 'frame is over 15.5 KiB');
    return lengthBytes >= 14 && lengthBytes <= MAX_FRAME_BYTES;
  }

  /** Marks a descriptor done: by DD, or by writing the head to memory (7.2.3.5.2). Moves the head. */
  #complete(queue: TxQueue, words: Int32Array, d: number, command: number): void {
    const next = queue.head + 1 === queue.count ? 0 : queue.head + 1;
    queue.head = next;
    this.#registers.words[queue.headWord] = next;
    if ((command & RS) === 0) {
      if (queue.batchesWriteBack && (command & EOP) !== 0) {
        queue.reportDescriptor('RS', '7.2.3.5.1', 'WTHRESH is not 0, but a frame does not ask for a report');
      }
      return;
    }
    const writeBackIova = queue.headWriteBackIova();
    if (writeBackIova < 0) {
      // What else a written-back descriptor holds is reserved; the model leaves it as it was.
      words[d + 3] = (words[d + 3]! & ~0xf) | DD;
    } else {
      this.#writeHead(writeBackIova, next);
    }
    this.#interrupts.queueCause(this.#interrupts.txVector[queue.index]!);
  }

  #writeHead(iova: number, head: number): void {
    const channel = this.#headWriteBack;
    const at = channel.locate(iova, 4);
    if (at < 0) channel.fault(iova, 4);
    else channel.memory.words[at / 4] = head;
  }

  /**
   * A frame of several descriptors, or one that needs work.
   * @returns descriptors used; 0 where its last descriptor is not before the tail yet
   */
  #sendGathered(queue: TxQueue, pending: number): number {
    const tail = this.#registers.words[queue.tailWord]!;
    if (queue.incompleteTail === tail) return 0;
    const descriptorCount = this.#findEnd(queue, pending);
    if (descriptorCount <= 0) {
      queue.incompleteTail = tail;
      if (descriptorCount === 0) {
        queue.reportDescriptor(
          'EOP',
          '7.2.1.2',
          'tail was moved past a frame without its last descriptor (EOP)',
        );
      }
      return 0;
    }
    queue.incompleteTail = -1;
    const first = this.#rings.locate(queue.ringIova + queue.head * 16, 16) / 4;
    const firstCommand = this.#rings.memory.words[first + 2]!;
    const firstOptions = this.#rings.memory.words[first + 3]!;
    const lengthBytes = this.#gatherFrame(queue, descriptorCount, firstCommand, firstOptions);
    if (lengthBytes < 0) return descriptorCount;
    if ((firstCommand & DEXT) === 0) this.#sendLegacy(queue, lengthBytes, firstCommand, firstOptions);
    else this.#sendAdvanced(queue, lengthBytes, firstCommand, firstOptions);
    return descriptorCount;
  }

  /** Descriptors up to the one with EOP; 0 where there is none before the tail, -1 after a fault. */
  #findEnd(queue: TxQueue, pending: number): number {
    const rings = this.#rings;
    for (let n = 0; n < pending; n++) {
      const iova = queue.ringIova + ((queue.head + n) % queue.count) * 16;
      const at = rings.locate(iova, 16);
      if (at < 0) {
        this.#stop(queue, iova);
        return -1;
      }
      if ((rings.memory.words[at / 4 + 2]! & EOP) !== 0) return n + 1;
    }
    return 0;
  }

  /** Copies the frame together and completes its descriptors. @returns its length, -1 where it cannot be sent */
  #gatherFrame(queue: TxQueue, descriptorCount: number, firstCommand: number, firstOptions: number): number {
    const segmented = (firstCommand & (DEXT | TSE)) === (DEXT | TSE);
    const limit = segmented ? MAX_TSO_BYTES : MAX_FRAME_BYTES;
    if (segmented && this.#gather.bytes.length < MAX_TSO_BYTES) this.#gather = frameMemory(MAX_TSO_BYTES);
    let length = 0;
    let usable = true;
    for (let n = 0; n < descriptorCount; n++) {
      const rings = this.#rings;
      const d = rings.locate(queue.ringIova + queue.head * 16, 16) / 4;
      const words = rings.memory.words;
      const command = words[d + 2]!;
      const pieceBytes = command & 0xffff;
      const iova = iovaOf(words[d]!, words[d + 1]!);
      if (((command ^ firstCommand) & DEXT) !== 0 || ((command & DEXT) !== 0 && !isData(command))) {
        queue.reportDescriptor(
          'DTYP',
          '7.2.3.2',
          `descriptor type ${(command >>> DTYP_SHIFT) & 0xf} inside a frame`,
        );
        usable = false;
      }
      if (usable && length + pieceBytes > limit) {
        queue.reportDescriptor('PAYLEN', '7.2.1.1', 'frame is longer than hardware can send');
        usable = false;
      }
      // A legacy descriptor of length 0 between frames is allowed and transmits nothing (7.2.3.2.2).
      const isNull = n === 0 && (command & (0xffff | DEXT | EOP)) === EOP;
      if (usable && !isNull && this.#checkBuffer(queue, iova, pieceBytes)) {
        if (this.#buffers.read(iova, this.#gather, length, pieceBytes)) length += pieceBytes;
        else {
          this.#interrupts.otherCause(CAUSE.PCI);
          usable = false;
        }
      }
      this.#complete(queue, words, d, command);
    }
    if (usable && (firstCommand & DEXT) !== 0 && !segmented && firstOptions >>> 14 !== length) {
      queue.reportDescriptor(
        'PAYLEN',
        '7.2.3.2.4',
        `PAYLEN ${firstOptions >>> 14} is not the frame's length ${length}`,
      );
    }
    return usable && length > 0 ? length : -1;
  }

  #sendLegacy(queue: TxQueue, gatheredBytes: number, command: number, options: number): void {
    let length = gatheredBytes;
    if (!this.#checkLength(queue, length)) return;
    const frame = this.#gather;
    if ((command & IC) !== 0) {
      insertLegacyChecksum(frame, length, (options >>> 8) & 0xff, (command >>> 16) & 0xff);
    }
    if ((command & VLE) !== 0) length = insertVlan(frame, length, this.#vlanEtherType, options >>> 16);
    this.#finish(queue, length, (command & IFCS) !== 0);
  }

  #sendAdvanced(queue: TxQueue, length: number, command: number, options: number): void {
    const slot = ((options >>> 4) & 1) * 4;
    const offload = this.#offload;
    offload.setContext(queue.contexts, slot);
    const vlan = (command & VLE) !== 0;
    if ((command & TSE) !== 0) {
      this.#segment(queue, length, command, options, vlan);
      return;
    }
    if (!this.#checkLength(queue, length)) return;
    const wrong = offload.insertChecksums(
      this.#gather,
      length,
      (options & POPTS_IXSM) !== 0,
      (options & POPTS_TXSM) !== 0,
    );
    if (wrong !== undefined)
      queue.reportDescriptor(wrong, '7.2.5', `${wrong} of the context does not fit the frame`);
    const sentBytes = vlan ? insertVlan(this.#gather, length, this.#vlanEtherType, offload.vlanTag) : length;
    this.#finish(queue, sentBytes, (command & IFCS) !== 0);
  }

  /** TCP or UDP segmentation (7.2.4). */
  #segment(queue: TxQueue, length: number, command: number, options: number, vlan: boolean): void {
    const offload = this.#offload;
    const wrong = offload.beginSegments(
      this.#gather,
      length,
      options >>> 14,
      this.#registers.peek(0x4a88),
      this.#registers.peek(0x4a8c),
    );
    if (wrong !== undefined) {
      queue.reportDescriptor(wrong, '7.2.4', `${wrong} does not fit the data to segment`);
      return;
    }
    for (;;) {
      let sentBytes = offload.nextSegment(this.#gather);
      if (sentBytes === 0) return;
      if (vlan) sentBytes = insertVlan(offload.segment, sentBytes, this.#vlanEtherType, offload.vlanTag);
      this.#emitPadded(queue, offload.segment, sentBytes);
      if ((command & IFCS) === 0) queue.reportDescriptor('IFCS', '7.2.4', 'segmentation needs IFCS');
    }
  }

  /** Sends what was gathered; without IFCS its last four bytes are a checksum that software computed. */
  #finish(queue: TxQueue, length: number, insertFcs: boolean): void {
    if (insertFcs && this.#appendFcs) {
      this.#emitPadded(queue, this.#gather, length);
      return;
    }
    const dataBytes = length - FCS_BYTES;
    if (dataBytes < 14) return;
    const bytes = this.#gather.bytes;
    const stored =
      bytes[dataBytes]! |
      (bytes[dataBytes + 1]! << 8) |
      (bytes[dataBytes + 2]! << 16) |
      (bytes[dataBytes + 3]! << 24);
    this.#emit(queue, this.#gather, 0, dataBytes, stored === crc32(bytes, 0, dataBytes));
  }

  /** Pads to 64 octets with FCS where HLREG0.TXPADEN says so. Frames start at the beginning of their memory. */
  #emitPadded(queue: TxQueue, frame: FrameMemory, length: number): void {
    if (length < MIN_FRAME_BYTES && this.#padShort) {
      frame.bytes.fill(0, length, MIN_FRAME_BYTES);
      this.#emit(queue, frame, 0, MIN_FRAME_BYTES);
    } else {
      this.#emit(queue, frame, 0, length);
    }
  }

  /**
   * ASSUMED: a frame whose FCS software got wrong counts as sent like any other: the MAC does not look at an FCS that it did not
   * make. MoonGen counts its frames in software for that reason.
   */
  #emit(queue: TxQueue, memory: FrameMemory, offset: number, length: number, fcsIsRight = true): void {
    const out = this.#out;
    const octets = length + FCS_BYTES;
    if (this.#rates.limits(queue.index)) this.#rates.sent(queue.index, octets);
    // With the link down the MAC discards frames and counts nothing.
    if (out === undefined) return;
    this.#room--;
    const counters = this.#counters;
    const set = this.#statistics.txSet[queue.index]!;
    counters[C.TPT]!++;
    counters[C.QPTC + set]!++;
    counters[C.QBTC + set]! += octets;
    if (octets >= 64) {
      counters[C.GPTC]!++;
      counters[C.GOTC]! += octets;
      counters[C.PTC64 + sizeClass(octets)]!++;
    }
    const first = memory.bytes[offset]!;
    if ((first & 1) !== 0) this.#countGroup(memory.bytes, offset);
    counters[C.TXDGPC]!++;
    counters[C.TXDGBC]! += octets;
    if (fcsIsRight) out.deliver(memory, offset, length);
    else out.damaged(length);
  }

  #countGroup(bytes: Uint8Array, offset: number): void {
    this.#counters[isBroadcast(bytes, offset) ? C.BPTC : C.MPTC]!++;
  }
}
