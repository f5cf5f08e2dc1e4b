/** One transmit queue: its ring and settings, latched from its registers, and its two context slots (7.2.3.2.3). */
import { iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { QUEUE_ENABLE, TX, txQueueBase } from './registers.js';

const MAX_RING_BYTES = 0x80000;
const DESCRIPTOR_BYTES = 16;
const TDWBAL_HEAD_WB_ENABLE = 1 << 0;

export class TxQueue {
  readonly index: number;
  enabled = false;
  /** Set after a fault on a descriptor: the queue stands still until it is enabled again. */
  stopped = false;
  ringIova = 0;
  count = 0;
  /** Next descriptor to send; TDH shows it. */
  head = 0;
  /** WTHRESH is not 0: every descriptor that ends a frame must ask for a report. */
  batchesWriteBack = false;
  /** Context descriptors, four words each. */
  readonly contexts = new Int32Array(8);
  /** Tail for which it is known that the last frame before it is incomplete; -1: none. */
  incompleteTail = -1;
  readonly headWord: number;
  readonly tailWord: number;
  readonly controlWord: number;
  readonly #registers: RegisterFile;
  readonly #violations: Violations;
  readonly #base: number;
  #baseLow = 0;
  #baseHigh = 0;
  #lengthBytes = 0;

  constructor(index: number, registers: RegisterFile, violations: Violations) {
    this.index = index;
    this.#registers = registers;
    this.#violations = violations;
    this.#base = txQueueBase(index);
    this.headWord = (this.#base + TX.TDH) >>> 2;
    this.tailWord = (this.#base + TX.TDT) >>> 2;
    this.controlWord = (this.#base + TX.TXDCTL) >>> 2;
  }

  disable(): void {
    this.enabled = false;
    this.stopped = false;
    this.count = 0;
    this.incompleteTail = -1;
  }

  /** Takes over what the registers say. Called at each poll for queues in use, and when TXDCTL is written. */
  sync(): void {
    const words = this.#registers.words;
    const control = words[this.controlWord]!;
    if ((control & QUEUE_ENABLE) === 0) {
      if (this.enabled) this.disable();
      return;
    }
    this.batchesWriteBack = (control & 0x7f0000) !== 0;
    if (!this.enabled) {
      this.#enable();
      return;
    }
    if (words[this.headWord] !== this.head) this.#adoptHead();
    const r = this.#registers;
    if (
      r.peek(this.#base + TX.TDBAL) !== this.#baseLow ||
      r.peek(this.#base + TX.TDBAH) !== this.#baseHigh ||
      r.peek(this.#base + TX.TDLEN) !== this.#lengthBytes
    ) {
      this.#report('TDBAL', '4.6.8', 'ring changed while the queue is enabled');
      this.#enable();
    }
  }

  #enable(): void {
    const r = this.#registers;
    this.enabled = true;
    this.stopped = false;
    this.incompleteTail = -1;
    this.contexts.fill(0);
    this.#baseLow = r.peek(this.#base + TX.TDBAL);
    this.#baseHigh = r.peek(this.#base + TX.TDBAH);
    this.#lengthBytes = r.peek(this.#base + TX.TDLEN);
    if ((this.#baseLow & 0x7f) !== 0)
      this.#report('TDBAL', '8.2.3.9.5', 'ring base is not a multiple of 128');
    if (this.#baseLow === 0 && this.#baseHigh === 0) {
      this.#report('TDBAL', '4.6.8', 'queue enabled before its ring base was set');
    }
    this.ringIova = iovaOf(this.#baseLow & ~0x7f, this.#baseHigh);
    this.#latchLength();
    this.#adoptHead();
  }

  #latchLength(): void {
    const lengthBytes = this.#lengthBytes;
    if (lengthBytes === 0) this.#report('TDLEN', '4.6.8', 'queue enabled before its ring length was set');
    if ((lengthBytes & 0x7f) !== 0)
      this.#report('TDLEN', '8.2.3.9.7', 'ring length is not a multiple of 128');
    if (lengthBytes < 0 || lengthBytes > MAX_RING_BYTES) {
      this.#report('TDLEN', '8.2.3.9.7', 'ring length is over 512 KiB');
      this.count = 0;
    } else {
      this.count = (lengthBytes & ~0x7f) / DESCRIPTOR_BYTES;
    }
  }

  #adoptHead(): void {
    const head = this.#registers.words[this.headWord]!;
    this.incompleteTail = -1;
    if (head >= 0 && head < this.count) {
      this.head = head;
      return;
    }
    if (this.count > 0) this.#report('TDH', '8.2.3.9.8', `head ${head} is beyond the ring of ${this.count}`);
    this.head = 0;
    this.#registers.words[this.headWord] = 0;
  }

  /** Descriptors that wait to be sent. */
  pending(): number {
    const tail = this.#registers.words[this.tailWord]!;
    if (tail < 0 || tail >= this.count) {
      if (this.count > 0)
        this.#report('TDT', '8.2.3.9.9', `tail ${tail} is beyond the ring of ${this.count}`);
      return 0;
    }
    const pending = tail - this.head;
    return pending >= 0 ? pending : pending + this.count;
  }

  /** Where TX head write-back goes; -1 where it is off. */
  headWriteBackIova(): number {
    const low = this.#registers.peek(this.#base + TX.TDWBAL);
    if ((low & TDWBAL_HEAD_WB_ENABLE) === 0) return -1;
    return iovaOf(low & ~3, this.#registers.peek(this.#base + TX.TDWBAH));
  }

  /** Reports a mistake in the descriptor at `index`. */
  reportDescriptor(field: string, section: string, message: string): void {
    this.#violations.report(`TDESC.${field}(${this.index})`, section, message);
  }

  #report(register: string, section: string, message: string): void {
    this.#violations.report(`${register}(${this.index})`, section, message);
  }
}
