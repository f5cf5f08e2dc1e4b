/** One receive queue: its ring, and the settings that are latched with it. */
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { QUEUE_ENABLE, RX, rxQueueBase } from './registers.js';
import { RingQueue, type RingRegisters } from './ring-queue.js';

const SRRCTL_DROP_EN = 1 << 28;
const RXDCTL_VME = 1 << 30;
const RSCCTL_RSCEN = 1 << 0;

/** SRRCTL.DESCTYPE (8.2.3.8.7). */
const DESCTYPE_LEGACY = 0;
const DESCTYPE_ONE_BUFFER = 1;

const REGISTERS: RingRegisters = {
  prefix: 'RD',
  low: RX.RDBAL,
  high: RX.RDBAH,
  length: RX.RDLEN,
  head: RX.RDH,
  tail: RX.RDT,
  control: RX.RXDCTL,
  sections: {
    enable: '4.6.7',
    base: '8.2.3.8.1',
    length: '8.2.3.8.3',
    head: '8.2.3.8.4',
    tail: '8.2.3.8.5',
  },
};

export class RxQueue extends RingQueue {
  bufferBytes = 0;
  advanced = false;
  dropWhenEmpty = false;
  stripVlan = false;
  /** As it was latched, to notice changes of an enabled queue. */
  #srrctl = 0;
  /** Receive coalescing was asked for and reported. */
  #coalescing = false;

  constructor(index: number, registers: RegisterFile, violations: Violations) {
    super(index, rxQueueBase(index), REGISTERS, registers, violations);
  }

  sync(): void {
    const { words } = this.registers;
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
    if (words[this.headWord] !== this.head) this.adoptHead();
    this.#checkCoalescing();
    this.#adoptDropEnable();
    if (this.#changed()) {
      this.report(
        'RDBAL',
        '4.6.7',
        `ring or SRRCTL changed while the queue is enabled (registers at 0x${this.base.toString(16)})`,
      );
      this.#enable();
    }
  }

  /**
   * SRRCTL.Drop_En may change while the queue runs. ASSUMED: the text asks for a disabled queue for the ring's registers only,
   * and drivers in use set and clear it as flow control goes off and on.
   */
  #adoptDropEnable(): void {
    const srrctl = this.peek(RX.SRRCTL);
    if (((srrctl ^ this.#srrctl) & ~SRRCTL_DROP_EN) !== 0) return;
    this.#srrctl = srrctl;
    this.dropWhenEmpty = (srrctl & SRRCTL_DROP_EN) !== 0;
  }

  #checkCoalescing(): void {
    const wanted = (this.peek(RX.RSCCTL) & RSCCTL_RSCEN) !== 0;
    if (wanted && !this.#coalescing) {
      this.report(
        'RSCCTL',
        '8.2.3.8.13',
        'receive coalescing (RSCEN) is not emulated; frames stay as they are',
      );
    }
    this.#coalescing = wanted;
  }

  #changed(): boolean {
    return this.ringChanged() || this.peek(RX.SRRCTL) !== this.#srrctl;
  }

  #enable(): void {
    this.enabled = true;
    this.latchRing();
    this.#srrctl = this.peek(RX.SRRCTL);
    this.#latchSplit();
    this.#coalescing = false;
    this.#checkCoalescing();
    this.adoptHead();
  }

  #latchSplit(): void {
    const srrctl = this.#srrctl;
    const type = (srrctl >>> 25) & 7;
    if (type !== DESCTYPE_LEGACY && type !== DESCTYPE_ONE_BUFFER) {
      this.report(
        'SRRCTL',
        '8.2.3.8.7',
        `DESCTYPE ${type} (header split) is not emulated; one buffer is used`,
      );
    }
    this.advanced = type !== DESCTYPE_LEGACY;
    this.dropWhenEmpty = (srrctl & SRRCTL_DROP_EN) !== 0;
    const kibibytes = srrctl & 0x1f;
    if (kibibytes === 0 || kibibytes > 16) {
      this.report('SRRCTL', '8.2.3.8.7', `BSIZEPACKET is ${kibibytes} KiB; 1 to 16 are allowed`);
    }
    this.bufferBytes = Math.min(Math.max(kibibytes, 1), 16) * 1024;
  }

  /** The driver has given it descriptors. */
  get started(): boolean {
    return this.head !== 0 || this.given() > 0;
  }
}
