/** Which devices have a driver here. */

export interface SupportedDevice {
  /** PCI vendor identifier. */
  readonly vendor: number;
  /** PCI device identifier. */
  readonly device: number;
  readonly name: string;
  /** Folder under `src/driver/`. */
  readonly driver: string;
}

const devices: readonly SupportedDevice[] = [
  { vendor: 0x8086, device: 0x10c9, name: 'Intel 82576', driver: 'igb' },
];

/** Every device that can be opened. */
export function supportedDevices(): readonly SupportedDevice[] {
  return devices;
}
