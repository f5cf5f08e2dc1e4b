import * as assert from 'uvu/assert';
import { describeMember, freeGroupHint } from '../../src/pci/companions.js';
import type { GroupMember } from '../../src/pci/sysfs.js';
import { suite } from '../support/suite.js';

const companions = suite('companions of an IOMMU group');

const NIC: GroupMember = { address: '0000:03:00.1', class: 0x020000, driver: 'igb' };
const NIC2: GroupMember = { address: '0000:03:00.2', class: 0x020000, driver: 'igb' };
const SOUND: GroupMember = { address: '0000:00:1f.3', class: 0x040300, driver: 'snd_hda_intel' };
const SMBUS: GroupMember = { address: '0000:00:1f.4', class: 0x0c0500, driver: 'i801_smbus' };
const DISK: GroupMember = { address: '0000:04:00.0', class: 0x010802, driver: 'nvme' };
const USB: GroupMember = { address: '0000:00:14.0', class: 0x0c0330, driver: 'xhci_hcd' };
const UNKNOWN: GroupMember = { address: '0000:05:00.0', class: null, driver: 'mystery' };

const SLOT = 'put the card in a slot with an IOMMU group of its own';
const tee = ({ address, driver }: GroupMember) =>
  `echo ${address} | sudo tee /sys/bus/pci/drivers/${driver}/unbind`;

companions('are named with what they are', () => {
  assert.is(describeMember(NIC), '0000:03:00.1 (igb)');
  assert.is(describeMember(SOUND), '0000:00:1f.3 (audio device, snd_hda_intel)');
  assert.is(describeMember({ ...USB, driver: null }), '0000:00:14.0 (USB controller, no driver)');
  assert.is(describeMember(UNKNOWN), '0000:05:00.0 (mystery)');
});

for (const [what, blockers, expected] of [
  [
    'NICs are bound, all in one command',
    [NIC, NIC2],
    `take them from their drivers: sudo npx barewire bind 0000:03:00.1 0000:03:00.2; or ${SLOT}`,
  ],
  [
    'what is no NIC is unbound, since bind would refuse it',
    [SOUND],
    `take it from its driver: ${tee(SOUND)} (the audio device will be gone until the next boot); or ${SLOT}`,
  ],
  [
    'both',
    [NIC, SOUND, SMBUS],
    `take them from their drivers: sudo npx barewire bind 0000:03:00.1; ${tee(SOUND)}; ${tee(SMBUS)} (the audio device and SMBus controller will be gone until the next boot); or ${SLOT}`,
  ],
  [
    'a device of which nothing is known',
    [UNKNOWN],
    `take it from its driver: ${tee(UNKNOWN)} (the device will be gone until the next boot); or ${SLOT}`,
  ],
  [
    'a disk: another slot comes first',
    [DISK],
    `${SLOT}; only if nothing needs the storage controller, take it from its driver: ${tee(DISK)} (the storage controller will be gone until the next boot)`,
  ],
] as const) {
  companions(`freeing the group: ${what}`, () => {
    assert.is(freeGroupHint(blockers), expected);
  });
}

companions('freeing the group: keyboards hang on USB, so another slot comes first', () => {
  assert.ok(
    freeGroupHint([USB, SOUND]).startsWith(
      `${SLOT}; only if nothing needs the USB controller and audio device`,
    ),
  );
});

companions.run();
