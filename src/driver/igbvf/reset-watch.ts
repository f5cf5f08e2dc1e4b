/**
 * Notices that the port of a virtual function was reset, and has everything set up again. The kernel resets a port when its
 * interface goes down, changes its rings or its driver; then the virtual function has lost its registers.
 *
 * It looks ten times a second and does not sleep on the mailbox's interrupt: a look costs one read, and QEMU's 82576 sends that
 * interrupt to another vector than the one asked for.
 */
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import { pause } from '../until.js';
import type { VirtualFunctionCounters } from './counters.js';
import type { Mailbox } from './mailbox.js';
import type { PhysicalFunction } from './physical-function.js';
import * as reg from './registers.js';

const debug = createDebug('barewire:driver');

const LOOK_MS = 100;
/** Counters of octets wrap after 34 s at the least. */
const LOOKS_PER_READING = 50;

export interface ResetWatchOptions {
  readonly address: string;
  readonly mailbox: Mailbox;
  readonly port: PhysicalFunction;
  readonly counters: VirtualFunctionCounters;
  /** The device closes. */
  readonly closed: AbortSignal;
  /** Sets everything up again. Called until it succeeds. */
  readonly recover: () => Promise<void>;
}

export class ResetWatch {
  readonly #options: ResetWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #recovery: Promise<void> | undefined;
  #looks = 0;

  constructor(options: ResetWatchOptions) {
    this.#options = options;
  }

  /** True from the moment when a reset is noticed until everything is as before. */
  get isRecovering(): boolean {
    return this.#recovery !== undefined;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    // It keeps no process alive.
    this.#timer.unref();
  }

  /** Resolves when nothing is set up any more. The device must have begun to close. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#recovery;
  }

  #look(): void {
    if (this.#recovery !== undefined || this.#options.closed.aborted) return;
    const { address, counters } = this.#options;
    try {
      if (this.#wasReset()) {
        debug('%s: its physical function was reset', address);
        counters.valid = false;
        this.#recovery = this.#recover();
      } else if (++this.#looks % LOOKS_PER_READING === 0) {
        counters.read();
      }
    } catch (error) {
      // The device is gone, which whoever uses it is told elsewhere.
      debug('%s: no more looks: %o', address, error);
      clearInterval(this.#timer);
    }
  }

  #wasReset(): boolean {
    const { mailbox, port } = this.#options;
    if (mailbox.isResetting || mailbox.take(reg.V2PMAILBOX_RSTD) || port.hasForgotten) return true;
    // An answer is for whoever asked.
    if (mailbox.isTalking || !mailbox.take(reg.V2PMAILBOX_PFSTS)) return false;
    const message = mailbox.receive();
    return message !== undefined && !port.isHarmless(message);
  }

  async #recover(): Promise<void> {
    const { address, closed, counters, recover } = this.#options;
    while (!closed.aborted) {
      try {
        await recover();
        counters.sums.resets++;
        counters.valid = true;
        break;
      } catch (error) {
        debug('%s: not yet: %o', address, error);
        if (error instanceof NicError && error.code === 'DEVICE_GONE') break;
        await pause(LOOK_MS, closed);
      }
    }
    this.#recovery = undefined;
  }
}
