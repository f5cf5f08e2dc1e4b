/** Enabling MSI-X in a config space and a table that are plain memory. */
import * as assert from 'uvu/assert';
import { Region } from '../../../src/vfio/region.js';
import { disableMsix, enableMsix } from '../../../src/vfio/user/msix.js';
import { suite } from '../../support/suite.js';

const CONTROL = 0x72;
const TABLE_START = 0x100;
const ENABLED = 0x8000;
const ENABLED_MASKED = 0xc000;

interface Write {
  readonly index: number;
  readonly offset: number;
  readonly value: number;
}

function fixture() {
  const writes: Write[] = [];
  const memory = (index: number, sizeBytes: number) => {
    const bytes = new Uint8Array(sizeBytes);
    const region = new Region(
      { index, name: `region ${index}`, sizeBytes, readable: true, writable: true },
      {
        read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
        write: (offset, from) => {
          const value = from.reduceRight((sum, byte) => sum * 256 + byte, 0);
          writes.push({ index, offset, value });
          bytes.set(from, offset);
        },
      },
      [],
    );
    return { region, view: new DataView(bytes.buffer) };
  };
  const config = memory(7, 0x100);
  config.view.setUint16(0x06, 0x10, true);
  config.view.setUint8(0x34, 0x40);
  config.view.setUint16(0x40, 0x7001, true); // power management, then MSI-X
  config.view.setUint16(0x70, 0x0011, true);
  config.view.setUint16(CONTROL, 3, true); // four vectors
  config.view.setUint32(0x74, TABLE_START | 3, true);
  const table = memory(3, TABLE_START + 4 * 16);
  for (let vector = 0; vector < 4; vector++) table.view.setUint32(TABLE_START + vector * 16 + 12, 1, true);
  return {
    writes,
    config,
    table,
    bar: (index: number) => (index === 3 ? table.region : undefined),
    masks: () => [0, 1, 2, 3].map((vector) => table.view.getUint32(TABLE_START + vector * 16 + 12, true)),
    control: () => config.view.getUint16(CONTROL, true),
  };
}

const test = suite('vfio-user MSI-X');

test('connected vectors are unmasked, while all are masked; then MSI-X is on', () => {
  const { config, bar, masks, control, writes } = fixture();
  enableMsix(config.region, bar, [true, false, true]);
  assert.equal(masks(), [0, 1, 0, 1]);
  assert.is(control(), ENABLED | 3);
  assert.equal(writes[0], { index: 7, offset: CONTROL, value: ENABLED_MASKED | 3 });
  assert.equal(writes.at(-1), { index: 7, offset: CONTROL, value: ENABLED | 3 });
});

test('a vector that is connected no more is masked again', () => {
  const { config, bar, masks } = fixture();
  enableMsix(config.region, bar, [true, true]);
  enableMsix(config.region, bar, [false, true]);
  assert.equal(masks(), [1, 0, 1, 1]);
});

test('disabled, the size stays', () => {
  const { config, bar, control } = fixture();
  enableMsix(config.region, bar, [true]);
  disableMsix(config.region);
  assert.is(control(), 3);
});

test('nothing is written without the capability, its BAR, room in it, or an end of the list', () => {
  const without = fixture();
  without.config.view.setUint16(0x06, 0, true);
  const circle = fixture();
  circle.config.view.setUint16(0x40, 0x4001, true);
  const absent = fixture();
  absent.config.view.setUint32(0x74, TABLE_START | 2, true);
  const beyond = fixture();
  beyond.config.view.setUint32(0x74, 0xfffffff8 | 3, true);
  for (const { config, bar, writes } of [without, circle, absent, beyond]) {
    enableMsix(config.region, bar, [true]);
    assert.equal(writes, []);
  }
  for (const { config, writes } of [without, circle]) {
    disableMsix(config.region);
    assert.equal(writes, []);
  }
});

test.run();
