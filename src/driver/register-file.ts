/**
 * A device's 32-bit registers by byte offset, with bounded waits that name what they waited for. For set-up,
 * statistics and teardown only: queues write their doorbells directly.
 */
import { NicError } from '../errors.js';
import type { Region } from '../vfio/region.js';
import { until } from './until.js';

/** What a read gives when no device answers: PCIe completes it with all ones. */
export const ALL_ONES = 0xffff_ffff;

export class RegisterFile {
  readonly #region: Region;
  readonly #device: string;
  /** Ends every `waitFor` while it is set: the device is being opened. */
  signal: AbortSignal | undefined;

  /** @param device address, for messages */
  constructor(region: Region, device: string) {
    this.#region = region;
    this.#device = device;
  }

  /** Unsigned value of the register at byte `offset`. */
  read(offset: number): number {
    return this.#region.read32(offset);
  }

  /** For counters that reading clears, on pages that may be mapped (see `Region.readTrapped32`). */
  readTrapped(offset: number): number {
    return this.#region.readTrapped32(offset);
  }

  write(offset: number, value: number): void {
    this.#region.write32(offset, value);
  }

  /** Read, set the bits of `mask`, write. Every other bit keeps its value. */
  set(offset: number, mask: number): void {
    this.write(offset, (this.read(offset) | mask) >>> 0);
  }

  clear(offset: number, mask: number): void {
    this.write(offset, (this.read(offset) & ~mask) >>> 0);
  }

  /**
   * Reads until the bits of `mask` equal `value`. Only reads: writing while waiting would overwrite other fields.
   * @param name `REGISTER.FIELD`, for the error
   * @throws NicError `DEVICE_TIMEOUT` with the last value seen, `DEVICE_GONE` where the register reads all ones; the
   *   reason of `signal`
   */
  async waitFor(offset: number, mask: number, value: number, name: string, timeoutMs: number): Promise<void> {
    let last = 0;
    const look = (): true | undefined => {
      last = this.read(offset);
      if (last === ALL_ONES) throw this.gone(name);
      return (last & mask) >>> 0 === value ? true : undefined;
    };
    if ((await until(look, { timeoutMs, signal: this.signal })) === true) return;
    throw new NicError(
      'DEVICE_TIMEOUT',
      `${this.#device}: ${name} did not become 0x${value.toString(16)} within ${timeoutMs} ms ` +
        `(last value of the register 0x${last.toString(16).padStart(8, '0')})`,
      { path: this.#device, hint: 'Reset the device (unbind and bind it) or power-cycle the machine.' },
    );
  }

  /** @throws NicError `DEVICE_GONE` where the register, which never has all bits set, reads all ones */
  assertPresent(offset: number, name: string): void {
    if (this.read(offset) === ALL_ONES) throw this.gone(name);
  }

  gone(name: string): NicError {
    return new NicError('DEVICE_GONE', `${this.#device} does not answer: ${name} reads all ones`, {
      path: this.#device,
      hint: 'The device was removed, powered down, or its memory decoding is off.',
    });
  }

  /** Where to write a doorbell: the mapped word, or a setter that goes the slow way where nothing is mapped. */
  doorbell(offset: number): Doorbell {
    return this.#region.window(offset, 4) ?? new SlowDoorbell(this.#region, offset);
  }
}

/** A register written by `doorbell[0] = value`. */
export interface Doorbell {
  [index: number]: number;
}

class SlowDoorbell implements Doorbell {
  [index: number]: number;
  readonly #region: Region;
  readonly #offset: number;

  constructor(region: Region, offset: number) {
    this.#region = region;
    this.#offset = offset;
  }

  get 0(): number {
    return this.#region.read32(this.#offset);
  }

  set 0(value: number) {
    this.#region.write32(this.#offset, value);
  }
}
