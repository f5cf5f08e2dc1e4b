/** What a device must be to be served: its regions, and the memory behind those that a client may map. */
import { fstatSync } from 'node:fs';
import { NicError } from '../../errors.js';
import { PAGE_BYTES } from '../../syscalls/memory.js';
import { PCI_REGION_COUNT } from '../types.js';
import { sealAgainstShrinking } from './memory.js';
import type { ServedDevice, ServedRegion } from './served-device.js';

/** @throws NicError `BAD_OPTION` for a device whose regions or areas make no sense */
export function checkDevice(device: ServedDevice): void {
  if (device.regions.length !== PCI_REGION_COUNT) {
    throw new NicError(
      'BAD_OPTION',
      `A served device has ${PCI_REGION_COUNT} regions, not ${device.regions.length}`,
    );
  }
  device.regions.forEach((region, index) => {
    if (region !== undefined) checkRegion(region, index);
  });
}

function checkRegion(region: ServedRegion, index: number): void {
  const what = `Region ${index} of the served device`;
  const areas = region.areas ?? [];
  if (areas.length === 0) return;
  if (region.fd === undefined) throw new NicError('BAD_OPTION', `${what} has areas to map but no file`);
  const fileBytes = fstatSync(region.fd).size;
  for (const { offset, sizeBytes } of areas) {
    const aligned = offset % PAGE_BYTES === 0 && sizeBytes % PAGE_BYTES === 0;
    if (
      !aligned ||
      offset < 0 ||
      sizeBytes <= 0 ||
      offset + sizeBytes > Math.min(region.sizeBytes, fileBytes)
    ) {
      throw new NicError(
        'BAD_OPTION',
        `${what}: area of ${sizeBytes} bytes at ${offset} is not whole pages inside region and file`,
      );
    }
  }
  if (!sealAgainstShrinking(region.fd)) {
    throw new NicError('BAD_OPTION', `${what}: its file cannot be sealed against shrinking`, {
      hint: 'Make it with createSharedMemory().',
    });
  }
}
