/** The interfaces that `barewire list` shows, from a sysfs of the test's. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { listPorts } from '../../../src/driver/registry.js';
import { toTable } from '../../../tools/commands/list.js';
import { suite } from '../../support/suite.js';

const root = mkdtempSync(join(tmpdir(), 'barewire-list-'));
const list = suite('AF_XDP interfaces');
list.after(() => rmSync(root, { recursive: true }));

function add(name: string, type: number, mtu: number, driver?: string): void {
  const folder = join(root, 'class/net', name);
  mkdirSync(join(folder, 'device'), { recursive: true });
  writeFileSync(join(folder, 'type'), `${type}\n`);
  writeFileSync(join(folder, 'mtu'), `${mtu}\n`);
  if (driver !== undefined) symlinkSync(`../../bus/drivers/${driver}`, join(folder, 'device/driver'));
}

list('Ethernet interfaces, their drivers, and what keeps one from being opened', () => {
  add('eth0', 1, 1500, 'igc');
  add('lo', 772, 65_536);
  add('big', 1, 9000);
  add('edge', 1, 3822);
  const ports = listPorts(root);
  // A kernel without AF_XDP opens none of them.
  const none = ports.every(({ supportedBy }) => supportedBy === null);
  assert.equal(
    ports.map(({ address, driver, supportedBy }) => [address, driver, none ? 'xdp' : supportedBy]),
    [
      ['xdp:big', null, none ? 'xdp' : null],
      ['xdp:edge', null, 'xdp'],
      ['xdp:eth0', 'igc', 'xdp'],
    ],
  );
  assert.match(ports[0]!.name, none ? 'this kernel has no AF_XDP' : 'its MTU is above 3822');
  const table = toTable([], [], undefined, ports);
  assert.match(table, /^xdp:eth0 +- +Ethernet, .* +igc +eth0 +- +- +(xdp|-)$/m);
});

list('no sysfs: no interfaces', () => {
  assert.equal(listPorts('/nonexistent'), []);
});

list.run();
