/** The driver that a device had before `bind`, remembered in a small file until `unbind`. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import createDebug from 'debug';
import { systemFiles } from './files.js';
import type { PciDevice } from './sysfs.js';

const debug = createDebug('barewire:pci');

/** What the file holds. The identifiers tell whether it is still the same card. */
interface SavedState {
  readonly driver: string;
  readonly vendor: number | null;
  readonly device: number | null;
}

export class SavedDriver {
  readonly #device: PciDevice;
  readonly #path: string;

  /** @param folder where the files of all devices are */
  constructor(device: PciDevice, folder: string) {
    this.#device = device;
    this.#path = join(folder, `${device.address}.json`);
  }

  /** Remembers the driver that the device has. @throws Error of node:fs where the file cannot be written */
  save(): void {
    const { driver, vendor, device } = this.#device;
    if (driver === null) {
      rmSync(this.#path, { force: true });
      return;
    }
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(this.#path, `${JSON.stringify({ driver, vendor, device } satisfies SavedState)}\n`);
  }

  /** The name of the driver; null also for a file that is damaged, or of another card that was in the same slot. */
  read(): string | null {
    try {
      const state: unknown = JSON.parse(systemFiles.readText(this.#path) ?? 'null');
      if (typeof state !== 'object' || state === null) return null;
      const { driver, vendor, device } = state as Partial<SavedState>;
      // It becomes a part of a path that root writes to.
      if (typeof driver !== 'string' || !/^[A-Za-z0-9_-]+$/.test(driver)) return null;
      return vendor === this.#device.vendor && device === this.#device.device ? driver : null;
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
