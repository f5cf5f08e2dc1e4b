/** The configuration space of the virtio card: identity, and vendor capabilities that tell where its structures are (4.1.4). */
import { COMMON, DEVICE, NOTIFY } from './card.js';

const TYPES = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const;

/** @param deviceId 0x1000 of a transitional device and of a legacy one, which has no capabilities (4.1.2.1) */
export function makeConfigSpace(deviceId: number, legacyOnly: boolean): Uint8Array {
  const bytes = new Uint8Array(256);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x1af4, true);
  view.setUint16(2, deviceId, true);
  bytes[0x0b] = 0x02;
  if (legacyOnly) return bytes;
  view.setUint16(0x06, 1 << 4, true);
  bytes[0x34] = 0x40;
  let at = 0x40;
  const add = (type: number, bar: number, offset: number, sizeBytes: number, more?: number): void => {
    const length = more === undefined ? 16 : 20;
    const next = at + length;
    bytes.set([0x09, next, length, type, bar], at);
    view.setUint32(at + 8, offset, true);
    view.setUint32(at + 12, sizeBytes, true);
    if (more !== undefined) view.setUint32(at + 16, more, true);
    at = next;
  };
  // One in a BAR that cannot exist, which has to be passed over; one of a type that drivers do not need.
  add(TYPES.common, 7, 0, 0x38);
  add(TYPES.pci, 0, 0, 0, 0);
  add(TYPES.notify, NOTIFY.bar, NOTIFY.offset, NOTIFY.sizeBytes, NOTIFY.multiplier);
  add(TYPES.device, DEVICE.bar, DEVICE.offset, DEVICE.sizeBytes);
  add(TYPES.common, COMMON.bar, COMMON.offset, COMMON.sizeBytes);
  // Only the first of a type counts.
  add(TYPES.common, 0, 0x80, 0x38);
  bytes[at - 16 + 1] = 0;
  return bytes;
}
