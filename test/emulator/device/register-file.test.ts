/** Access modes and hooks of a register file, on a table of a made-up device. */
import * as assert from 'uvu/assert';
import { RegisterFile } from '../../../src/emulator/device/register-file.js';
import { type Access, block, RegisterTable } from '../../../src/emulator/device/register-table.js';
import { Violations } from '../../../src/emulator/device/violations.js';
import { suite } from '../../support/suite.js';

const MODES: readonly Access[] = ['RW', 'RO', 'RC', 'WO', 'W1C', 'RW1S'];
const SIZES = { sizeBytes: 4096, listSection: '1', accessSection: '2' };
const TABLE = new RegisterTable(
  [
    ...MODES.map((access, i) => block(access, i * 4, access, `3.${i}`, { reset: 0xf0 })),
    block('ARRAY', 0x40, 'RW', '4', { count: 4, stride: 0x10, reserved: 0x8000_0000 }),
    block('ARRAY', 0x200, 'RW', '4', { count: 2, firstIndex: 4, sticky: true }),
  ],
  SIZES,
);

function make(areas = [] as { offset: number; sizeBytes: number }[]) {
  const violations = new Violations('datasheet', {});
  const file = new RegisterFile(TABLE, areas, violations);
  return {
    file,
    violations,
    read: (offset: number, sizeBytes = 4) => {
      const bytes = new Uint8Array(8).fill(0xee);
      file.read(offset, bytes.subarray(0, sizeBytes));
      return bytes.subarray(0, sizeBytes).reduceRight((value, byte) => value * 256 + byte, 0);
    },
    write: (offset: number, value: number, sizeBytes = 4) =>
      file.write(
        offset,
        Uint8Array.from({ length: sizeBytes }, (_, i) => value / 256 ** i),
      ),
    reports: () => violations.list.map(({ subject, section }) => `${subject} ${section}`),
  };
}

const registers = suite('registers of a model');

for (const [access, first, afterWrite, second, isViolation] of [
  ['RW', 0xf0, 0x3c, 0x3c, false],
  ['RO', 0xf0, 0xf0, 0xf0, true],
  ['RC', 0xf0, 0, 0, true],
  ['WO', 0, 0, 0, false],
  ['W1C', 0xf0, 0xc0, 0xc0, false],
  ['RW1S', 0xf0, 0xfc, 0xfc, false],
] as const) {
  registers(`${access}: reset value 0xf0, then 0x3c is written`, () => {
    const { read, write, reports } = make();
    const offset = MODES.indexOf(access) * 4;
    assert.is(read(offset), first);
    write(offset, 0x3c);
    assert.equal([read(offset), read(offset)], [afterWrite, second]);
    assert.equal(reports(), isViolation ? [`${access} 3.${MODES.indexOf(access)}`] : []);
  });
}

registers('hooks get the index within the array, and the value without reserved bits', () => {
  const { file, read, write, reports } = make();
  const seen: number[][] = [];
  file.hook(
    'ARRAY',
    (index) => 100 + index,
    (value, index) => seen.push([value, index]),
  );
  write(0x60, 0x8000_0005);
  write(0x204, 7);
  assert.equal(seen, [
    [5, 2],
    [7, 5],
  ]);
  assert.equal([read(0x40), read(0x200)], [100, 104]);
  assert.equal(reports(), ['ARRAY(2) 4']);
  assert.throws(() => file.hook('NONE', undefined, undefined), /no register NONE/);
});

registers('accesses of eight bytes are two registers, others are reported and change nothing', () => {
  const { read, write, reports, file } = make();
  let written = 0;
  file.onWritten = () => written++;
  assert.is(read(0, 8), 0xf0 + 0xf0 * 2 ** 32);
  write(0, 0x12, 1);
  assert.is(written, 0);
  assert.equal([read(0, 1), read(8, 2), read(8, 2)], [0xf0, 0xf0, 0xf0], 'no side effect');
  write(0, 0x12);
  assert.is(written, 1);
  assert.equal(reports(), ['RW 2', 'RC 2']);
});

registers('where there is no register, 0 is read and it is reported once', () => {
  const { read, write, reports, violations } = make();
  assert.equal([read(0x800), read(0x800)], [0, 0]);
  write(0x800, 5);
  assert.equal(reports(), ['offset 0x800 1']);
  assert.is(violations.count, 1);
});

registers('sticky ones keep their value in a reset that is not of all', () => {
  const { file, read, write } = make();
  write(0x40, 1);
  write(0x200, 1);
  file.reset(false);
  assert.equal([read(0x40), read(0x200)], [0, 1]);
  file.reset(true);
  assert.is(read(0x200), 0);
});

registers('has a memory file only where a client may map it', () => {
  assert.is(make().file.fd, undefined);
  const { file, write } = make([{ offset: 0, sizeBytes: 4096 }]);
  assert.type(file.fd, 'number');
  write(0, 5);
  file.close();
  assert.is(file.peek(0), 5, 'late accesses go to private memory');
});

registers('a table whose registers overlap is refused', () => {
  const overlapping = [block('A', 0, 'RW', '', { count: 4 }), block('B', 8, 'RW', '')];
  assert.throws(() => new RegisterTable(overlapping, SIZES), /B and A overlap/);
});

registers.run();
