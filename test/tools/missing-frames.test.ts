/** What commands say of ports that cannot receive every frame. */
import * as assert from 'uvu/assert';
import type { DeviceCapabilities } from '../../src/driver/device.js';
import { warnOfMissingFrames } from '../../tools/missing-frames.js';
import { suite } from '../support/suite.js';

type Device = Parameters<typeof warnOfMissingFrames>[0];

/** What is printed for a port of which `open` of `all` queues are open. */
function saidOf(
  address: string,
  capabilities: Partial<DeviceCapabilities>,
  open: number,
  all: number,
  promiscuous?: boolean,
): string {
  const device = {
    ...{ address, capabilities, macAddress: '02:00:00:00:00:07' },
    ...{ limits: { maxQueuePairs: all }, rxQueues: Array.from({ length: open }, () => ({})) },
  } as unknown as Device;
  const { write } = process.stderr;
  let said = '';
  process.stderr.write = ((text: string) => {
    said += text;
    return true;
  }) as typeof write;
  try {
    warnOfMissingFrames(device, promiscuous);
  } finally {
    process.stderr.write = write;
  }
  return said;
}

const missing = suite('missing frames');
const SHARED = { sharesInterface: true };

missing('of a port whose queues are all open, nothing is said', () => {
  assert.is(saidOf('0000:01:00.0', {}, 1, 8), '', 'the card sends all to those that are open');
  assert.is(saidOf('xdp:eth1', SHARED, 4, 4), '');
});

missing('of an interface whose other queues stay with the kernel, it is said, with what to do', () => {
  assert.is(
    saidOf('xdp:eth1', SHARED, 1, 4),
    'warning: xdp:eth1 has 4 receive queues, of which one is taken: flows on the others stay with the kernel\n' +
      'hint: "ethtool -L eth1 combined 1" leaves no others; fwd takes all with --queues 4\n',
  );
  assert.match(saidOf('xdp:eth1', SHARED, 2, 4), 'of which 2 are taken');
});

missing('an address with the number of a queue means that one', () => {
  assert.is(saidOf('xdp:eth1/0', SHARED, 1, 4), '');
});

missing('of a virtual function it is said which frames come', () => {
  assert.match(
    saidOf('0000:01:10.0', { promiscuous: 'multicast' }, 1, 1),
    'only those to 02:00:00:00:00:07 come',
  );
});

missing(
  'where only frames to the port itself were asked for, those on other queues are missing all the same',
  () => {
    assert.match(saidOf('xdp:eth1', SHARED, 1, 4, false), 'of which one is taken');
    assert.is(saidOf('0000:01:10.0', { promiscuous: 'multicast' }, 1, 1, false), '');
  },
);

missing.run();
