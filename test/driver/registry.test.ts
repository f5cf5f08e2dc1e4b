/** What the registry says of devices that are not bound to vfio-pci. */
import * as assert from 'uvu/assert';
import type { OpenOptions } from '../../src/driver/device.js';
import { addScheme, explainUnbound, sharedPoolOptions } from '../../src/driver/registry.js';
import { NicError } from '../../src/errors.js';
import { FakeSysfs } from '../pci/fake-sysfs.js';
import { suite } from '../support/suite.js';

const registry = suite('registry: devices that are not bound');

const notBound = new NicError('NOT_BOUND', 'planted', { hint: 'sudo npx barewire bind' });

function explained(device: { vendor: string; device: string; class?: string }): NicError {
  const fake = new FakeSysfs();
  try {
    fake.add('0000:03:00.0', { ...device, driver: 'somebody', group: 7 });
    return explainUnbound(notBound, '03:00.0', fake.root) as NicError;
  } finally {
    fake.remove();
  }
}

registry('one that no driver knows is not worth binding', () => {
  const error = explained({ vendor: '0x10ec', device: '0x8168' });
  assert.is(error.code, 'UNSUPPORTED_DEVICE');
  assert.match(error.message, '0000:03:00.0 (10ec:8168)');
  assert.match(error.hint!, 'Supported: ');
  assert.match(error.hint!, 'addDriver()');
});

registry('devices of the same vendor are named first', () => {
  const { hint } = explained({ vendor: '0x8086', device: '0x1572' });
  assert.match(hint!, /^Of the same vendor: Intel .*Others: virtio net \(1af4:1041\)/);
  assert.not.match(hint!, /Others:.*Intel/);
});

registry('one that a driver knows, one that is no NIC, one of which nothing is known: as it was', () => {
  assert.is(explained({ vendor: '0x8086', device: '0x10fb' }), notBound);
  assert.is(explained({ vendor: '0x8086', device: '0xa170', class: '0x040300' }), notBound);
  assert.is(explained({ vendor: 'x', device: 'y' }), notBound);
  assert.is(explainUnbound(notBound, '0000:09:00.0', '/nonexistent'), notBound);
});

registry('any other error is not touched', () => {
  for (const other of [new NicError('NO_IOMMU', 'planted'), new Error('planted'), undefined])
    assert.is(explainUnbound(other, '03:00.0', '/nonexistent'), other);
});

registry.run();

const pools = suite('registry: a pool for several devices');

pools('has the largest buffers that one of them asks for, told what it will be opened with', () => {
  const asked: unknown[] = [];
  addScheme({
    name: 'wishing',
    form: 'wishing:BYTES',
    open: () => Promise.reject(new Error('not opened')),
    poolOptions(rest, options) {
      asked.push([rest, options]);
      const [headroomBytes, bufferSizeBytes] = rest.split(',').map(Number) as [number, number?];
      return { headroomBytes, ...(bufferSizeBytes === undefined ? {} : { bufferSizeBytes }) };
    },
  });
  const optionsOf = (address: string): OpenOptions => ({ mtu: address.length });
  const shared = (...addresses: string[]) => sharedPoolOptions(addresses, optionsOf);
  assert.equal(shared('0000:03:00.0', 'vfio-user:/a'), {});
  assert.equal(shared('0000:03:00.0', 'wishing:128'), { headroomBytes: 128 });
  assert.equal(asked, [['128', { mtu: 11 }]]);
  assert.equal(shared('wishing:256,2048', 'wishing:64,4096', 'vfio-user:/a'), {
    headroomBytes: 256,
    bufferSizeBytes: 4096,
  });
});

pools.run();
