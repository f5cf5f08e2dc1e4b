/** One transmit queue: its ring and settings, latched from its registers, and its two context slots (7.2.3.2.3). */
import { iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { QUEUE_ENABLE, TX, txQueueBase } from './registers.js';
import { RingQueue, type RingRegisters } from './ring-queue.js';

const TDWBAL_HEAD_WB_ENABLE = 1 << 0;

const REGISTERS: RingRegisters = {
  prefix: 'TD',
  low: TX.TDBAL,
  high: TX.TDBAH,
  length: TX.TDLEN,
  head: TX.TDH,
  tail: TX.TDT,
  control: TX.TXDCTL,
  sections: {
    enable: '4.6.8',
    base: '8.2.3.9.5',
    length: '8.2.3.9.7',
    head: '8.2.3.9.8',
    tail: '8.2.3.9.9',
  },
};

export class TxQueue extends RingQueue {
  /** Set after a fault on a descriptor: the queue stands still until it is enabled again. */
  stopped = false;
  /** WTHRESH is not 0: every descriptor that ends a frame must ask for a report. */
  batchesWriteBack = false;
  /** Context descriptors, four words each. */
  readonly contexts = new Int32Array(8);
  /** Tail for which it is known that the last frame before it is incomplete; -1: none. */
  incompleteTail = -1;

  constructor(index: number, registers: RegisterFile, violations: Violations) {
    super(index, txQueueBase(index), REGISTERS, registers, violations);
  }

  override disable(): void {
    super.disable();
    this.stopped = false;
    this.incompleteTail = -1;
  }

  sync(): void {
    const { words } = this.registers;
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
    if (words[this.headWord] !== this.head) this.adoptHead();
    if (this.ringChanged()) {
      this.report('TDBAL', '4.6.8', 'ring changed while the queue is enabled');
      this.#enable();
    }
  }

  #enable(): void {
    this.enabled = true;
    this.stopped = false;
    this.contexts.fill(0);
    this.latchRing();
    this.adoptHead();
  }

  protected override adoptHead(): void {
    this.incompleteTail = -1;
    super.adoptHead();
  }

  /** Where TX head write-back goes; -1 where it is off. */
  headWriteBackIova(): number {
    const low = this.peek(TX.TDWBAL);
    if ((low & TDWBAL_HEAD_WB_ENABLE) === 0) return -1;
    return iovaOf(low & ~3, this.peek(TX.TDWBAH));
  }

  /** Reports a mistake in the descriptor at the head. */
  reportDescriptor(field: string, section: string, message: string): void {
    this.report(`TDESC.${field}`, section, message);
  }
}
