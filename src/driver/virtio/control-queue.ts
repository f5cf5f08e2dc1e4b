/**
 * The control queue (VIRTIO 1.2, 5.1.6.5): one command at a time, as two descriptors: what the device reads, and the byte
 * with its answer. The driver looks for the answer again and again; the queue never interrupts.
 */
import { NicError } from '../../errors.js';
import type { Doorbell } from '../register-file.js';
import { until } from '../until.js';
import { type ControlRing, makeControlRing } from './control-ring.js';
import { LAYOUT, type Ring } from './layout.js';
import { CTRL_OK } from './registers.js';

const TIMEOUT_MS = 1000;
/** What the answer's byte holds before the device has written it. */
const NO_ANSWER = 0xff;

export interface ControlQueueOptions {
  /** `CONTROL_RING` descriptors. */
  readonly ring: Ring;
  readonly queue: number;
  readonly notify: Doorbell;
  /** What was accepted: NOTIFICATION_DATA, EVENT_IDX. */
  readonly notifiesData: boolean;
  readonly eventIdx: boolean;
  /** Commands go to its start, the answer to its last byte. */
  readonly memory: Uint8Array;
  readonly iovaLow: number;
  readonly iovaHigh: number;
  readonly address: string;
  /** @throws NicError where the device is gone */
  readonly assertWorks: () => void;
  readonly closed: AbortSignal;
}

export class ControlQueue {
  /** Ends commands of the opening. */
  signal: AbortSignal | undefined;
  readonly #options: ControlQueueOptions;
  readonly #ring: ControlRing;
  /** Commands are given one after the other. */
  #before: Promise<void> = Promise.resolve();
  #failed: NicError | undefined;

  constructor(options: ControlQueueOptions) {
    this.#options = options;
    const { ring, memory, iovaLow, iovaHigh, eventIdx } = options;
    const buffers = { iovaHigh, commandLow: iovaLow, answerLow: iovaLow + memory.length - 1 };
    this.#ring = makeControlRing(ring, buffers, eventIdx);
  }

  /** Longest data of a command. */
  get maxDataBytes(): number {
    return this.#options.memory.length - 3;
  }

  /** Runs commands that belong together, after those that were begun before. */
  converse(talk: (command: ControlQueue['command']) => Promise<void>): Promise<void> {
    const done = this.#before.then(() => talk((code, data, name) => this.command(code, data, name)));
    this.#before = done.catch(() => {});
    return done;
  }

  /**
   * @param name of the command, for messages
   * @throws NicError `DEVICE_STATE` where the device refuses; `DEVICE_TIMEOUT` where it does not answer: then the queue can
   *   not be used again; `DEVICE_GONE`, `CLOSED`; the reason of the signal
   */
  async command(code: readonly [number, number], data: Uint8Array, name: string): Promise<void> {
    const { memory, notify, queue, notifiesData, assertWorks, closed, address } = this.#options;
    closed.throwIfAborted();
    if (this.#failed !== undefined) throw this.#failed;
    assertWorks();
    memory.set(code);
    memory.set(data, 2);
    memory[memory.length - 1] = NO_ANSWER;
    const position = this.#ring.submit(2 + data.length);
    // Always notified: commands are rare.
    notify[0] = queue | (notifiesData ? position << LAYOUT.DATA_SHIFT : 0);
    const look = (): boolean | undefined => {
      assertWorks();
      return this.#ring.answered();
    };
    // The device may still write to the answer's byte where this fails: nothing is asked any more.
    this.#failed = new NicError(
      'DEVICE_STATE',
      `The control queue of ${address} was left in the middle of ${name}`,
      {
        path: address,
        hint: 'Close the device and open it again.',
      },
    );
    const isAnswer = await until(look, { timeoutMs: TIMEOUT_MS, signal: this.signal, closed });
    if (isAnswer === undefined) {
      throw new NicError('DEVICE_TIMEOUT', `${address} did not answer ${name} within ${TIMEOUT_MS} ms`, {
        path: address,
        hint: 'Close the device and open it again. Look at the log of the hypervisor.',
      });
    }
    const answer = memory[memory.length - 1]!;
    if (!isAnswer) {
      this.#failed = new NicError(
        'DEVICE_STATE',
        `${address} answered on its control queue what it was not asked`,
        {
          path: address,
          hint: 'This is no device after VIRTIO 1.2, sections 2.7 and 2.8. Tell whoever made it.',
        },
      );
      throw this.#failed;
    }
    this.#failed = undefined;
    if (answer === CTRL_OK) return;
    throw new NicError('DEVICE_STATE', `${address} refused ${name} (answer ${answer})`, {
      path: address,
      hint: 'The hypervisor may forbid it: look at the trust settings of the virtual port.',
    });
  }
}
