/**
 * What receive and transmit queues do alike: the ring, latched from the queue's registers, its head and its tail. The registers
 * may lie in memory that the client maps, so a change is noticed when the queue is looked at, not when it is made.
 */
import { iovaOf } from '../device/dma.js';
import type { RegisterFile } from '../device/register-file.js';
import type { Violations } from '../device/violations.js';
import { QUEUE_ENABLE } from './registers.js';

const MAX_RING_BYTES = 0x80000;
const DESCRIPTOR_BYTES = 16;
/** Ring bases and lengths are multiples of 128 bytes. */
const ALIGNMENT_MASK = 0x7f;
/** Queues examined for having been enabled, a poll. Enabled ones are examined at every poll. */
const SCAN_STEP = 32;

/** Where the registers of a direction's queues are, and the datasheet's sections about them. */
export interface RingRegisters {
  /** `RD` or `TD`, as the names of the registers begin. */
  readonly prefix: string;
  /** Bytes from the first register of a queue. */
  readonly low: number;
  readonly high: number;
  readonly length: number;
  readonly head: number;
  readonly tail: number;
  readonly control: number;
  readonly sections: {
    readonly enable: string;
    readonly base: string;
    readonly length: string;
    readonly head: string;
    readonly tail: string;
  };
}

export abstract class RingQueue {
  readonly index: number;
  enabled = false;
  ringIova = 0;
  /** Descriptors in the ring. */
  count = 0;
  /** Next descriptor to use; the head register shows it. */
  head = 0;
  /** Word indices of registers, for the packet path. */
  readonly headWord: number;
  readonly tailWord: number;
  readonly controlWord: number;
  protected readonly registers: RegisterFile;
  /** First register of the queue. */
  protected readonly base: number;
  readonly #violations: Violations;
  readonly #at: RingRegisters;
  // What was latched, to notice changes of an enabled queue.
  #low = 0;
  #high = 0;
  #lengthBytes = 0;

  protected constructor(
    index: number,
    base: number,
    at: RingRegisters,
    registers: RegisterFile,
    violations: Violations,
  ) {
    this.index = index;
    this.base = base;
    this.registers = registers;
    this.#at = at;
    this.#violations = violations;
    this.headWord = (base + at.head) >>> 2;
    this.tailWord = (base + at.tail) >>> 2;
    this.controlWord = (base + at.control) >>> 2;
  }

  /** Takes over what the registers say. Called at each poll for queues in use, and when the control register is written. */
  abstract sync(): void;

  disable(): void {
    this.enabled = false;
    this.count = 0;
  }

  protected ringChanged(): boolean {
    return (
      this.peek(this.#at.low) !== this.#low ||
      this.peek(this.#at.high) !== this.#high ||
      this.peek(this.#at.length) !== this.#lengthBytes
    );
  }

  /** Base and length of the ring, when the queue is enabled. */
  protected latchRing(): void {
    const { prefix, sections } = this.#at;
    this.#low = this.peek(this.#at.low);
    this.#high = this.peek(this.#at.high);
    this.#lengthBytes = this.peek(this.#at.length);
    if ((this.#low & ALIGNMENT_MASK) !== 0)
      this.report(`${prefix}BAL`, sections.base, 'ring base is not a multiple of 128');
    if (this.#low === 0 && this.#high === 0) {
      this.report(`${prefix}BAL`, sections.enable, 'queue enabled before its ring base was set');
    }
    this.ringIova = iovaOf(this.#low & ~ALIGNMENT_MASK, this.#high);
    this.#latchLength();
  }

  #latchLength(): void {
    const { prefix, sections } = this.#at;
    const lengthBytes = this.#lengthBytes;
    if (lengthBytes === 0)
      this.report(`${prefix}LEN`, sections.enable, 'queue enabled before its ring length was set');
    if ((lengthBytes & ALIGNMENT_MASK) !== 0)
      this.report(`${prefix}LEN`, sections.length, 'ring length is not a multiple of 128');
    if (lengthBytes < 0 || lengthBytes > MAX_RING_BYTES) {
      this.report(`${prefix}LEN`, sections.length, 'ring length is over 512 KiB');
      this.count = 0;
    } else {
      this.count = (lengthBytes & ~ALIGNMENT_MASK) / DESCRIPTOR_BYTES;
    }
  }

  /** The head register was written: before enabling as it should be, or under way. */
  protected adoptHead(): void {
    const words = this.registers.words;
    const head = words[this.headWord]!;
    if (head >= 0 && head < this.count) {
      this.head = head;
      return;
    }
    const { prefix, sections } = this.#at;
    if (this.count > 0)
      this.report(`${prefix}H`, sections.head, `head ${head} is beyond the ring of ${this.count}`);
    this.head = 0;
    words[this.headWord] = 0;
  }

  /** Descriptors from the head to the tail: the driver has given them to the hardware. */
  given(): number {
    const tail = this.registers.words[this.tailWord]!;
    if (tail < 0 || tail >= this.count) return this.#badTail(tail);
    const given = tail - this.head;
    return given >= 0 ? given : given + this.count;
  }

  #badTail(tail: number): number {
    const { prefix, sections } = this.#at;
    if (this.count > 0)
      this.report(`${prefix}T`, sections.tail, `tail ${tail} is beyond the ring of ${this.count}`);
    return 0;
  }

  /** @param offsetBytes from the queue's first register */
  protected peek(offsetBytes: number): number {
    return this.registers.peek(this.base + offsetBytes);
  }

  protected report(register: string, section: string, message: string): void {
    this.#violations.report(`${register}(${this.index})`, section, message);
  }
}

/** The queues of one direction, and which of them are enabled. */
export class QueueSet<Queue extends RingQueue> {
  readonly all: readonly Queue[];
  /** Enabled ones, in the order in which they were enabled. */
  active: readonly Queue[] = [];
  readonly #registers: RegisterFile;
  #scanAt = 0;

  constructor(all: readonly Queue[], registers: RegisterFile) {
    this.all = all;
    this.#registers = registers;
  }

  disableAll(): void {
    for (const queue of this.all) queue.disable();
    this.active = [];
  }

  sync(queue: Queue): void {
    queue.sync();
    const listed = this.active.includes(queue);
    if (queue.enabled === listed) return;
    this.active = queue.enabled ? [...this.active, queue] : this.active.filter((other) => other !== queue);
  }

  /** Notices what was written to mapped registers. */
  notice(): void {
    const active = this.active;
    for (let i = active.length - 1; i >= 0; i--) this.sync(active[i]!);
    const words = this.#registers.words;
    for (let n = 0; n < SCAN_STEP; n++) {
      const queue = this.all[this.#scanAt]!;
      this.#scanAt = (this.#scanAt + 1) % this.all.length;
      if (!queue.enabled && (words[queue.controlWord]! & QUEUE_ENABLE) !== 0) this.sync(queue);
    }
  }
}
