/**
 * The rates of transmit queues (4.6.11.4, 8.2.3.10). From the beginning of one frame of a queue to the beginning of the next there are
 * at least MIFS = PL x RF byte times: PL the length of the first with its FCS, 64 at least, RF the queue's rate factor in
 * RTTBCNRC, ten bits before the point and 14 behind it. A queue that was held up by others may make up for it, for as long as
 * RTTBCNRM.MMW_SIZE KiB of its frames take at its rate.
 *
 * A model is polled now and then. Frames that waited at one poll have, by the next, left at their times in between; they are
 * handed over at the poll, and their times follow from each other, so that no error adds up.
 *
 * ASSUMED: a queue that was empty gets nothing for that: its next frame begins when it is given, and counts from there.
 */
import type { Clock } from '../../clock.js';
import type { RegisterFile } from '../device/register-file.js';
import { RTTBCNRC, RTTBCNRM, RTTDQSEL } from './registers.js';

/** A byte at 10 Gbit/s. */
const BYTE_NS = 0.8;
const MIN_OCTETS = 64;
const RS_ENA = 1 << 31;
const FACTOR_MASK = 0xffffff;
const FACTOR_ONE = 1 << 14;
const MMW_SIZE_MASK = 0x7ff;

export class QueueRates {
  /** Time of the poll that is going on; stands still while no queue has a rate. */
  nowNs = 0;
  readonly #registers: RegisterFile;
  readonly #clock: Clock;
  /** RTTBCNRC of each queue. */
  readonly #configs: Int32Array;
  /** By queue: when its next frame may begin. */
  readonly #nextNs: Float64Array;
  #limited = 0;

  constructor(registers: RegisterFile, clock: Clock, queueCount: number) {
    this.#registers = registers;
    this.#clock = clock;
    this.#configs = new Int32Array(queueCount);
    this.#nextNs = new Float64Array(queueCount);
    registers.hook(
      'RTTBCNRC',
      () => this.#configs[registers.peek(RTTDQSEL)]!,
      (value) => this.#configure(registers.peek(RTTDQSEL), value),
    );
  }

  #configure(queue: number, value: number): void {
    this.#registers.poke(RTTBCNRC, value);
    this.#configs[queue] = value;
    this.#limited = this.#configs.reduce((sum, config) => sum + ((config & RS_ENA) !== 0 ? 1 : 0), 0);
    this.restart(queue);
  }

  reset(): void {
    this.#configs.fill(0);
    this.#limited = 0;
  }

  /** A queue's next frame may begin at once. */
  restart(queue: number): void {
    this.#nextNs[queue] = this.#clock.nowNs();
  }

  /** A poll begins. */
  begin(): void {
    if (this.#limited > 0) this.nowNs = this.#clock.nowNs();
  }

  limits(queue: number): boolean {
    return this.#limited > 0 && (this.#configs[queue]! & RS_ENA) !== 0;
  }

  /** Whether a queue's next frame may have begun by now. */
  isDue(queue: number): boolean {
    return this.#nextNs[queue]! <= this.nowNs;
  }

  /** A frame of a queue with a rate has begun. @param octets with FCS */
  sent(queue: number, octets: number): void {
    this.#nextNs[queue]! += Math.max(octets, MIN_OCTETS) * this.#byteNs(queue);
  }

  /** All that a queue was given is sent. */
  emptied(queue: number): void {
    if (this.isDue(queue)) this.#nextNs[queue] = this.nowNs;
  }

  /** The port had no room for a queue's frames. */
  held(queue: number): void {
    const windowKib = this.#registers.peek(RTTBCNRM) & MMW_SIZE_MASK;
    const earliestNs = this.nowNs - windowKib * 1024 * this.#byteNs(queue);
    if (this.#nextNs[queue]! < earliestNs) this.#nextNs[queue] = earliestNs;
  }

  /** Time for a byte at a queue's rate. */
  #byteNs(queue: number): number {
    return ((this.#configs[queue]! & FACTOR_MASK) / FACTOR_ONE) * BYTE_NS;
  }
}
