/**
 * Sleeping until packets come. Under load a port is polled; when nothing has come for a while, its receive interrupts
 * are unmasked and the event loop sleeps on their eventfds.
 */

export interface PacketWaitOptions {
  /** True where a packet is waiting. */
  readonly pending: () => boolean;
  /** Unmasks the interrupts. Without it (a device without MSI-X) the wait polls once a millisecond. */
  readonly arm?: () => void;
  /** Masks them. */
  readonly disarm?: () => void;
}

const POLL_MS = 1;

export class PacketWait {
  readonly #options: PacketWaitOptions;
  #finish: ((packets: boolean, failure?: { error: unknown }) => void) | undefined;
  #current: Promise<boolean> | undefined;

  constructor(options: PacketWaitOptions) {
    this.#options = options;
  }

  /**
   * True as soon as packets are there, false after `timeoutMs`. A second call joins the first. Rejects where the
   * interrupts cannot be masked or unmasked: the device is gone.
   */
  wait(timeoutMs: number): Promise<boolean> {
    const { pending, arm, disarm } = this.#options;
    if (pending()) return Promise.resolve(true);
    if (this.#current !== undefined) return this.#current;
    const current = new Promise<boolean>((resolve, reject) => {
      const timer = setTimeout(() => this.#finish?.(false), timeoutMs);
      const poll =
        arm === undefined ? setInterval(() => pending() && this.#finish?.(true), POLL_MS) : undefined;
      this.#finish = (packets, failure) => {
        clearTimeout(timer);
        clearInterval(poll);
        this.#finish = undefined;
        this.#current = undefined;
        try {
          disarm?.();
        } catch (error) {
          failure ??= { error };
        }
        if (failure === undefined) resolve(packets);
        else reject(failure.error);
      };
    });
    // Before unmasking, which may end the wait at once.
    this.#current = current;
    try {
      arm?.();
      // A packet that came between the last poll and the unmasking may have raised no interrupt.
      if (pending()) this.wake();
    } catch (error) {
      this.#finish?.(false, { error });
    }
    return current;
  }

  /** An interrupt came. One left over from packets that were polled long ago ends no wait. */
  wake(): void {
    if (this.#finish === undefined) return;
    if (this.#options.pending()) this.#finish(true);
    else this.#options.arm?.();
  }

  /** Ends a wait as if its time were over. */
  cancel(): void {
    this.#finish?.(false);
  }
}
