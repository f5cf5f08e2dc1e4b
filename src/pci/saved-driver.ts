/** The driver that a device had before `bind`, remembered in a small file until `unbind`. */
import { SavedState } from './saved-state.js';
import type { PciDevice } from './sysfs.js';

export class SavedDriver {
  readonly #device: PciDevice;
  readonly #state: SavedState;

  /** @param folder where the files of all devices are */
  constructor(device: PciDevice, folder: string) {
    this.#device = device;
    this.#state = new SavedState(device, folder, '.json');
  }

  /** Remembers the driver that the device has. @throws Error of node:fs where the file cannot be written */
  save(): void {
    const { driver } = this.#device;
    if (driver === null) this.#state.forget();
    else this.#state.save({ driver });
  }

  /** The name of the driver; null also for a file that is damaged, or of another card that was in the same slot. */
  read(): string | null {
    const driver = this.#state.read()?.driver;
    // It becomes a part of a path that root writes to.
    return typeof driver === 'string' && /^[A-Za-z0-9_-]+$/.test(driver) ? driver : null;
  }

  /** Removes the file. One that stays is harmless: the next `save` writes it anew. */
  forget(): void {
    this.#state.forget();
  }
}
