/** Addresses of NICs that were given none, and of those that count up. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { derivedMac, macAfter } from '../../src/emulator/mac-addresses.js';
import { suite } from '../support/suite.js';

const folder = mkdtempSync(join(tmpdir(), 'barewire-mac-'));
const macs = suite('MAC addresses');

macs('are of one station, locally administered, and differ by the place of the socket', () => {
  mkdirSync(join(folder, 'a'));
  mkdirSync(join(folder, 'b'));
  const paths = ['a/0.sock', 'a/1.sock', 'b/0.sock', 'no-such-folder/0.sock', 'none/0.sock'];
  const all = paths.map((path) => Buffer.from(derivedMac(join(folder, path))).toString('hex'));
  assert.is(new Set(all).size, paths.length);
  for (const mac of all) assert.match(mac, /^02ba[0-9a-f]{8}$/);
});

macs('stay the same for the same socket, however its folder is spelled', () => {
  const path = join(folder, 'a', '0.sock');
  assert.equal(derivedMac(path), derivedMac(path));
  assert.equal(derivedMac(`${folder}/b/../a/0.sock`), derivedMac(path));
});

macs('count up through all bytes', () => {
  const first = Uint8Array.of(0x02, 0, 0, 0xff, 0xff, 0xfe);
  assert.equal(macAfter(first, 0), first);
  assert.equal(macAfter(first, 1), Uint8Array.of(0x02, 0, 0, 0xff, 0xff, 0xff));
  assert.equal(macAfter(first, 3), Uint8Array.of(0x02, 0, 1, 0, 0, 1));
  assert.equal(first, Uint8Array.of(0x02, 0, 0, 0xff, 0xff, 0xfe), 'the argument stays');
});

macs.after(() => rmSync(folder, { recursive: true }));
macs.run();
