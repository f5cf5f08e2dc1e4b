/** Which models there are, by PCI ID. A new family is a line in `MODELS`. */
import { NicError } from '../errors.js';
import { formatIds } from '../pci/ids.js';
import { ixgbe } from './ixgbe/ixgbe-model.js';
import type { DeviceModel, ModelFamily, ModelOptions } from './model.js';

/** The first device of the first family is the one that is emulated by default. */
export const MODELS: readonly ModelFamily[] = [ixgbe];

/** A device that can be emulated. */
export interface EmulatedDevice {
  readonly vendorId: number;
  readonly deviceId: number;
  /** `82599ES SFP+`. */
  readonly name: string;
}

/** Every device of the families, the default first. */
export function emulatedDevices(families: readonly ModelFamily[] = MODELS): EmulatedDevice[] {
  return families.flatMap(({ vendorId, devices }) =>
    Array.from(devices, ([deviceId, name]) => ({ vendorId, deviceId, name })),
  );
}

/**
 * Makes a model by its PCI device ID, the default device without one.
 * @throws NicError `BAD_OPTION` where no family has the device, or the family refuses an option
 */
export function createModel(options: ModelOptions, families: readonly ModelFamily[] = MODELS): DeviceModel {
  const known = emulatedDevices(families);
  const deviceId = options.deviceId ?? known[0]?.deviceId;
  const family = families.find(({ devices }) => deviceId !== undefined && devices.has(deviceId));
  if (family === undefined || deviceId === undefined) {
    const list = known.map((device) => formatIds(device.vendorId, device.deviceId)).join(', ');
    throw new NicError('BAD_OPTION', `no model of a PCI device ${deviceId?.toString(16)}`, {
      hint: `devices that are emulated: ${list}`,
    });
  }
  return family.create({ ...options, deviceId });
}
