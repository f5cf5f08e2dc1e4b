/**
 * The other functions of an IOMMU group, and what has to be done to them before VFIO can use the group: all of it or
 * nothing, since the IOMMU cannot tell its functions apart. It is enough that a function has no kernel driver; a NIC can
 * be bound to vfio-pci as well.
 *
 * Sources: Linux Documentation/driver-api/vfio.rst (groups and their viability), Documentation/ABI/testing/sysfs-bus-pci
 * (unbind).
 */
import { className } from './ids.js';
import { type GroupMember, isNic } from './sysfs.js';
import { BIND_COMMAND } from './vfio-state.js';

/** Base classes, or a base class with its subclass, that a running machine may depend on: disks, screen, USB. */
const VITAL: ReadonlySet<number> = new Set([0x01, 0x03, 0x0c03]);

const OTHER_SLOT = 'put the card in a slot with an IOMMU group of its own';

/** `0000:03:00.1 (audio device, snd_hda_intel)`, and for a NIC `0000:03:00.1 (igb)` */
export function describeMember({ address, class: code, driver }: GroupMember): string {
  const what = code === null || isNic({ class: code }) ? '' : `${className(code)}, `;
  return `${address} (${what}${driver ?? 'no driver'})`;
}

/**
 * What frees a group that these functions keep from being used, as a phrase: the commands, and the other way, a slot.
 * @param blockers the group's functions that have a kernel driver, at least one
 */
export function freeGroupHint(blockers: readonly GroupMember[]): string {
  const nics = blockers.filter((member) => isNic(member));
  const others = blockers.filter((member) => !isNic(member));
  const commands = [
    ...(nics.length === 0 ? [] : [`${BIND_COMMAND} ${nics.map(({ address }) => address).join(' ')}`]),
    ...others.map(
      ({ address, driver }) => `echo ${address} | sudo tee /sys/bus/pci/drivers/${driver}/unbind`,
    ),
  ];
  const take = `take ${blockers.length === 1 ? 'it from its driver' : 'them from their drivers'}: ${commands.join('; ')}`;
  const lost = [...new Set(others.map(({ class: code }) => className(code)))].join(' and ');
  const stops = lost === '' ? '' : ` (the ${lost} will be gone until the next boot)`;
  const vital = others.some(
    ({ class: code }) => code !== null && (VITAL.has(code >>> 16) || VITAL.has(code >>> 8)),
  );
  if (vital) return `${OTHER_SLOT}; only if nothing needs the ${lost}, ${take}${stops}`;
  return `${take}${stops}; or ${OTHER_SLOT}`;
}
