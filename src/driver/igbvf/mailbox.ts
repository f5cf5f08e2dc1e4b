/**
 * The mailbox between a virtual function and the driver of its physical function (82576 datasheet 8.26, V2PMAILBOX and
 * VMBMEM): one buffer of sixteen words, which one of them has at a time, and bits that say what happened.
 *
 * What lies in the buffer comes from another driver, in another operating system perhaps: nothing in it is trusted, and every
 * wait for it ends.
 */
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import type { RegisterFile } from '../register-file.js';
import { until } from '../until.js';
import * as reg from './registers.js';

const debug = createDebug('barewire:driver');

/** The kernel's driver gives a virtual function a second for each message; it answers within some microseconds. */
const TIMEOUT_MS = 1000;

/** What a conversation is bound to. */
export interface MailboxSignals {
  /** Ends the opening. */
  readonly signal: AbortSignal | undefined;
  /** The device closes. */
  readonly closed: AbortSignal;
}

export class Mailbox {
  readonly #registers: RegisterFile;
  readonly #address: string;
  readonly #signals: () => MailboxSignals;
  /** Bits that a read cleared before somebody asked for them. */
  #seen = 0;
  /** Ends when the conversation does that was begun last. */
  #last: Promise<unknown> = Promise.resolve();
  #talking = 0;

  /** @param signals asked when a conversation begins */
  constructor(registers: RegisterFile, address: string, signals: () => MailboxSignals) {
    this.#registers = registers;
    this.#address = address;
    this.#signals = signals;
  }

  /** True while a request waits for its answer. */
  get isTalking(): boolean {
    return this.#talking > 0;
  }

  /** True while the physical function is being reset. @throws NicError `DEVICE_GONE` */
  get isResetting(): boolean {
    return (this.#read() & reg.V2PMAILBOX_RSTI) !== 0;
  }

  /** Whether one of these bits came since it was asked for last. @throws NicError `DEVICE_GONE` */
  take(bits: number): boolean {
    this.#read();
    const found = (this.#seen & bits) !== 0;
    this.#seen &= ~bits;
    return found;
  }

  /**
   * Sends a request and resolves with the answer: all words of the buffer. One after the other, in the order of the calls.
   * @param isAnswer whether a message answers this request; others are read, and passed over
   * @throws NicError `DEVICE_TIMEOUT` where nobody answers; `DEVICE_GONE`; the reason of a signal
   */
  request(words: readonly number[], isAnswer: (answer: Uint32Array) => boolean): Promise<Uint32Array> {
    const answer = this.#last.then(() => this.#converse(words, isAnswer));
    // The next one goes on whatever came of this one.
    this.#last = answer.catch(() => {});
    return answer;
  }

  /**
   * The message that came without a request; undefined where the other side has the buffer just now. The bits of the message
   * must have been taken.
   */
  receive(): Uint32Array | undefined {
    if (!this.#lock()) return undefined;
    const message = Uint32Array.from({ length: reg.VMBMEM_WORDS }, (_, word) =>
      this.#registers.read(reg.vmbmem(word)),
    );
    this.#registers.write(reg.V2PMAILBOX, reg.V2PMAILBOX_ACK);
    debug('%s: mailbox: received %o', this.#address, message);
    return message;
  }

  async #converse(
    words: readonly number[],
    isAnswer: (answer: Uint32Array) => boolean,
  ): Promise<Uint32Array> {
    this.#talking++;
    try {
      await this.#waitFor('the mailbox is free', () => this.#lock() || undefined);
      // What came before is overwritten now, and answers nothing that is asked here.
      this.take(reg.V2PMAILBOX_PFSTS | reg.V2PMAILBOX_PFACK);
      debug('%s: mailbox: sending %o', this.#address, words);
      for (const [i, word] of words.entries()) this.#registers.write(reg.vmbmem(i), word >>> 0);
      // This gives the buffer back as well: VFU is 0.
      this.#registers.write(reg.V2PMAILBOX, reg.V2PMAILBOX_REQ);
      await this.#waitFor('the request was read', () => this.take(reg.V2PMAILBOX_PFACK) || undefined);
      return await this.#waitFor('an answer', () => this.#answer(isAnswer));
    } finally {
      this.#talking--;
    }
  }

  #answer(isAnswer: (answer: Uint32Array) => boolean): Uint32Array | undefined {
    if (!this.take(reg.V2PMAILBOX_PFSTS)) return undefined;
    const answer = this.receive();
    if (answer === undefined) {
      // Next time.
      this.#seen |= reg.V2PMAILBOX_PFSTS;
      return undefined;
    }
    return isAnswer(answer) ? answer : undefined;
  }

  /** Takes the buffer, where the other side does not have it. */
  #lock(): boolean {
    this.#registers.write(reg.V2PMAILBOX, reg.V2PMAILBOX_VFU);
    return (this.#read() & reg.V2PMAILBOX_VFU) !== 0;
  }

  #read(): number {
    const value = this.#registers.read(reg.V2PMAILBOX);
    // Reserved bits are 0, so a device that is there never has all of them.
    if (value === 0xffff_ffff) throw this.#registers.gone('V2PMAILBOX');
    this.#seen |= value & reg.V2PMAILBOX_READ_CLEARS;
    return value;
  }

  async #waitFor<T>(what: string, look: () => T | undefined): Promise<T> {
    const found = await until(look, { timeoutMs: TIMEOUT_MS, ...this.#signals() });
    if (found !== undefined) return found;
    throw new NicError(
      'DEVICE_TIMEOUT',
      `${this.#address}: the driver of its physical function does not answer (waited ${TIMEOUT_MS} ms until ${what})`,
      {
        path: this.#address,
        hint: 'Bring the interface of the physical function up: ip link set NAME up. Its kernel driver must be at work.',
      },
    );
  }
}
