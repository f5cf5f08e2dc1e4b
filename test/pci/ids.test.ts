import * as assert from 'uvu/assert';
import { className, deviceName, formatIds } from '../../src/pci/ids.js';
import { suite } from '../support/suite.js';

const ids = suite('device names');

// Identifiers from the PCI ID repository (pci-ids.ucw.cz).
for (const [vendor, device, name] of [
  [0x8086, 0x10c9, 'Intel 82576'],
  [0x8086, 0x10ca, 'Intel 82576 VF'],
  [0x8086, 0x10fb, 'Intel 82599ES (X520)'],
  [0x8086, 0x10ed, 'Intel 82599 VF'],
  [0x8086, 0x1528, 'Intel X540'],
  [0x8086, 0x1563, 'Intel X550'],
  [0x8086, 0x10d3, 'Intel 82574L'],
  [0x8086, 0x1521, 'Intel I350'],
  [0x8086, 0x1533, 'Intel I210'],
  [0x1af4, 0x1000, 'virtio net (transitional)'],
  [0x1af4, 0x1041, 'virtio net'],
  [0x15ad, 0x07b0, 'VMware vmxnet3'],
] as const) {
  ids(`${formatIds(vendor, device)} is ${name}`, () => {
    assert.is(deviceName(vendor, device), name);
  });
}

ids('what has no name is shown by its numbers', () => {
  assert.is(deviceName(0x8086, 0x0001), 'Intel [0001]');
  assert.is(deviceName(0xabcd, 0x0012), '[abcd:0012]');
  assert.is(deviceName(0x8086, null), 'unknown');
  assert.is(formatIds(null, 0x12), '????:0012');
});

ids('what a class code stands for: the subclass, else the base class', () => {
  assert.equal(
    [0x040300, 0x040100, 0x048000, 0x010802, 0x0c0330, 0x0c0500, 0x0c0000, 0x060100, 0x060400, 0x060000].map(
      className,
    ),
    [
      'audio device',
      'audio device',
      'multimedia device',
      'storage controller',
      'USB controller',
      'SMBus controller',
      'serial bus controller',
      'ISA bridge',
      'PCI bridge',
      'bridge',
    ],
  );
  assert.equal([null, 0xff0000].map(className), ['device', 'device']);
});

ids.run();
