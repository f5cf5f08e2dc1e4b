/** What was so of a device before it was changed, remembered in a small file until it is changed back. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import createDebug from 'debug';
import { systemFiles } from './files.js';
import type { PciDevice } from './sysfs.js';

const debug = createDebug('barewire:pci');

export class SavedState {
  readonly #device: PciDevice;
  readonly #path: string;

  /**
   * @param folder where the files of all devices are
   * @param name of the file, behind the device's address
   */
  constructor(device: PciDevice, folder: string, name: string) {
    this.#device = device;
    this.#path = join(folder, `${device.address}${name}`);
  }

  /** Remembers some values, and the identifiers that tell later whether it is the same card. @throws Error of node:fs */
  save(values: Readonly<Record<string, unknown>>): void {
    const { vendor, device } = this.#device;
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(this.#path, `${JSON.stringify({ ...values, vendor, device })}\n`);
  }

  /** The values; null also for a file that is damaged, or of another card that was in the same slot. */
  read(): Readonly<Record<string, unknown>> | null {
    try {
      const state: unknown = JSON.parse(systemFiles.readText(this.#path) ?? 'null');
      if (typeof state !== 'object' || state === null) return null;
      const { vendor, device } = state as Record<string, unknown>;
      const isSame = vendor === this.#device.vendor && device === this.#device.device;
      return isSame ? (state as Record<string, unknown>) : null;
    } catch {
      return null;
    }
  }

  /** Removes the file. One that stays is harmless: the next `save` writes it anew. */
  forget(): void {
    try {
      rmSync(this.#path, { force: true });
    } catch (error) {
      debug('%s: state file stays: %o', this.#device.address, error);
    }
  }
}
