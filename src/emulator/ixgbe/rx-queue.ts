/**
 * One receive queue: its ring and settings, latched from its registers. The registers may lie in memory that the
 * client maps, so a change is noticed when the queue is looked at, not when it is made.
 */
import { iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { QUEUE_ENABLE, RX, rxQueueBase } from './registers.js';

const SRRCTL_DROP_EN = 1 << 28;
const RXDCTL_VME = 1 << 30;
const RSCCTL_RSCEN = 1 << 0;
const MAX_RING_BYTES = 0x80000;
const DESCRIPTOR_BYTES = 16;

/** SRRCTL.DESCTYPE (8.2.3.8.7). */
const DESCTYPE_LEGACY = 0;
const DESCTYPE_ONE_BUFFER = 1;

export class RxQueue {
  readonly index: number;
  enabled = false;
  ringIova = 0;
  /** Descriptors in the ring. */
  count = 0;
  /** Next descriptor to use; RDH shows it. */
  head = 0;
  bufferBytes = 0;
  advanced = false;
  dropWhenEmpty = false;
  stripVlan = false;
  /** Word indices of registers, for the packet path. */
  readonly headWord: number;
  readonly tailWord: number;
  readonly controlWord: number;

  readonly #registers: RegisterFile;
  readonly #violations: Violations;
  readonly #base: number;
  // What was latched, to notice changes of an enabled queue.
  #baseLow = 0;
  #baseHigh = 0;
  #lengthBytes = 0;
  #srrctl = 0;
  /** Receive coalescing was asked for and reported. */
  #coalescing = false;

  constructor(index: number, registers: RegisterFile, violations: Violations) {
    this.index = index;
    this.#registers = registers;
    this.#violations = violations;
    this.#base = rxQueueBase(index);
    this.headWord = (this.#base + RX.RDH) >>> 2;
    this.tailWord = (this.#base + RX.RDT) >>> 2;
    this.controlWord = (this.#base + RX.RXDCTL) >>> 2;
  }

  disable(): void {
    this.enabled = false;
    this.count = 0;
  }

  /** Takes over what the registers say. Called at each poll for queues in use, and when RXDCTL is written. */
  sync(): void {
    const words = this.#registers.words;
    const control = words[this.controlWord]!;
    if ((control & QUEUE_ENABLE) === 0) {
      if (this.enabled) this.disable();
      return;
    }
    this.stripVlan = (control & RXDCTL_VME) !== 0;
    if (!this.enabled) {
      this.#enable();
      return;
    }
    if (words[this.headWord] !== this.head) this.#adoptHead();
    this.#checkCoalescing();
    this.#adoptDropEnable();
    if (this.#changed()) {
      const at = this.#base;
      this.#report(
        'RDBAL',
        '4.6.7',
        `ring or SRRCTL changed while the queue is enabled (registers at 0x${at.toString(16)})`,
      );
      this.#enable();
    }
  }

  /**
   * SRRCTL.Drop_En may change while the queue runs. ASSUMED: the text asks for a disabled queue for the ring's registers only,
   * and drivers in use set and clear it as flow control goes off and on.
   */
  #adoptDropEnable(): void {
    const srrctl = this.#registers.peek(this.#base + RX.SRRCTL);
    if (((srrctl ^ this.#srrctl) & ~SRRCTL_DROP_EN) !== 0) return;
    this.#srrctl = srrctl;
    this.dropWhenEmpty = (srrctl & SRRCTL_DROP_EN) !== 0;
  }

  #checkCoalescing(): void {
    const wanted = (this.#registers.peek(this.#base + RX.RSCCTL) & RSCCTL_RSCEN) !== 0;
    if (wanted && !this.#coalescing) {
      this.#report(
        'RSCCTL',
        '8.2.3.8.13',
        'receive coalescing (RSCEN) is not emulated; frames stay as they are',
      );
    }
    this.#coalescing = wanted;
  }

  #changed(): boolean {
    const r = this.#registers;
    return (
      r.peek(this.#base + RX.RDBAL) !== this.#baseLow ||
      r.peek(this.#base + RX.RDBAH) !== this.#baseHigh ||
      r.peek(this.#base + RX.RDLEN) !== this.#lengthBytes ||
      r.peek(this.#base + RX.SRRCTL) !== this.#srrctl
    );
  }

  #enable(): void {
    const r = this.#registers;
    this.enabled = true;
    this.#baseLow = r.peek(this.#base + RX.RDBAL);
    this.#baseHigh = r.peek(this.#base + RX.RDBAH);
    this.#lengthBytes = r.peek(this.#base + RX.RDLEN);
    this.#srrctl = r.peek(this.#base + RX.SRRCTL);
    if ((this.#baseLow & 0x7f) !== 0)
      this.#report('RDBAL', '8.2.3.8.1', 'ring base is not a multiple of 128');
    if (this.#baseLow === 0 && this.#baseHigh === 0) {
      this.#report('RDBAL', '4.6.7', 'queue enabled before its ring base was set');
    }
    this.ringIova = iovaOf(this.#baseLow & ~0x7f, this.#baseHigh);
    this.#latchLength();
    this.#latchSplit();
    this.#coalescing = false;
    this.#checkCoalescing();
    this.#adoptHead();
  }

  #latchLength(): void {
    const lengthBytes = this.#lengthBytes;
    if (lengthBytes === 0) this.#report('RDLEN', '4.6.7', 'queue enabled before its ring length was set');
    if ((lengthBytes & 0x7f) !== 0)
      this.#report('RDLEN', '8.2.3.8.3', 'ring length is not a multiple of 128');
    if (lengthBytes < 0 || lengthBytes > MAX_RING_BYTES) {
      this.#report('RDLEN', '8.2.3.8.3', 'ring length is over 512 KiB');
      this.count = 0;
    } else {
      this.count = (lengthBytes & ~0x7f) / DESCRIPTOR_BYTES;
    }
  }

  #latchSplit(): void {
    const srrctl = this.#srrctl;
    const type = (srrctl >>> 25) & 7;
    if (type !== DESCTYPE_LEGACY && type !== DESCTYPE_ONE_BUFFER) {
      this.#report(
        'SRRCTL',
        '8.2.3.8.7',
        `DESCTYPE ${type} (header split) is not emulated; one buffer is used`,
      );
    }
    this.advanced = type !== DESCTYPE_LEGACY;
    this.dropWhenEmpty = (srrctl & SRRCTL_DROP_EN) !== 0;
    const kibibytes = srrctl & 0x1f;
    if (kibibytes === 0 || kibibytes > 16) {
      this.#report('SRRCTL', '8.2.3.8.7', `BSIZEPACKET is ${kibibytes} KiB; 1 to 16 are allowed`);
    }
    this.bufferBytes = Math.min(Math.max(kibibytes, 1), 16) * 1024;
  }

  /** RDH was written: before enabling as it should be, or under way. */
  #adoptHead(): void {
    const head = this.#registers.words[this.headWord]!;
    if (head >= 0 && head < this.count) {
      this.head = head;
      return;
    }
    if (this.count > 0) this.#report('RDH', '8.2.3.8.4', `head ${head} is beyond the ring of ${this.count}`);
    this.head = 0;
    this.#registers.words[this.headWord] = 0;
  }

  /** The driver has given it descriptors. */
  get started(): boolean {
    return this.head !== 0 || this.free() > 0;
  }

  /** Descriptors that the driver has given to hardware. */
  free(): number {
    const tail = this.#registers.words[this.tailWord]!;
    if (tail < 0 || tail >= this.count) {
      if (this.count > 0)
        this.#report('RDT', '8.2.3.8.5', `tail ${tail} is beyond the ring of ${this.count}`);
      return 0;
    }
    const free = tail - this.head;
    return free >= 0 ? free : free + this.count;
  }

  #report(register: string, section: string, message: string): void {
    this.#violations.report(`${register}(${this.index})`, section, message);
  }
}
