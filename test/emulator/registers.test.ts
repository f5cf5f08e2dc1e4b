/** Register access: reset values, modes, aliases, resets (82599 datasheet 8.2, 4.2). */
import * as assert from 'uvu/assert';
import { REGISTERS } from '../../src/emulator/ixgbe/registers.js';
import { suite } from '../support/suite.js';
import { BAR0, R, rx, TestNic } from './support.js';

const registers = suite('registers');

registers('have the values of the datasheet after reset', () => {
  const nic = new TestNic();
  const expected: [number, number][] = [
    [R.CTRL, 0],
    [R.STATUS, 1 << 19], // GIO master enabled
    [R.FCTRL, 0],
    [R.VLNCTRL, 0x8100],
    [R.RXCTRL, 0],
    [R.MAXFRS, 1518 << 16],
    [R.DMATXCTL, (0x8100 << 16) >>> 0],
    [rx(0, 'SRRCTL'), 0x402],
    [0x03c00, 512 << 10], // RXPBSIZE(0)
    [0x03c04, 512 << 10], // and the others, which mean nothing without DCB
    [0x0cc00, 160 << 10], // TXPBSIZE(0)
    [0x0cc04, 0],
    [0x04950, 0x96], // TXPBTHRESH(0): 150 KiB
    [0x04954, 0],
    [0x0496c, 0], // TXPBTHRESH(7)
    [0x02f00, 0x00108808], // RDRXCTL: DMAIDONE, RSCFRSTSIZE 8, no CRCStrip (8.2.3.8.8)
    [0x04900, 0x00c00000], // RTTDCS: BDPM, BPBFSM (8.2.3.10.2)
    [0x10148, 1 << 15], // FWSM: firmware valid
    [R.GPIE, 0],
    [0x00880, 0], // EIMS
  ];
  for (const [offset, value] of expected) assert.is(nic.read(offset), value, offset.toString(16));
  assert.is(nic.read(R.RDRXCTL) & 8, 8, 'DMAIDONE');
  assert.is(nic.read(R.HLREG0) & 0x403, 0x403, 'TXCRCEN, RXCRCSTRP, TXPADEN');
});

registers('what the datasheet leaves undefined after a reset is neither 0 nor what was there before', () => {
  const nic = new TestNic();
  const undefinedAfterReset: [string, number, number][] = [
    ['MTA', 0x05200, 128], // 8.2.3.7.7
    ['MPSAR', 0x0a600, 256], // 8.2.3.7.10
    ['VFTA', 0x0a000, 128], // 8.2.3.7.11
    ['FTQF', 0x0e600, 128], // 8.2.3.7.19
    ['PFVLVF', 0x0f100, 64], // 8.2.3.27.15
    ['PFVLVFB', 0x0f200, 128], // 8.2.3.27.16
    ['PFUTA', 0x0f400, 128], // 8.2.3.27.17
  ];
  for (const round of [0, 1]) {
    for (const [name, first, count] of undefinedAfterReset) {
      for (let i = 0; i < count; i++) {
        assert.is.not(nic.read(first + 4 * i), 0, `${name}(${i}), round ${round}`);
        nic.write(first + 4 * i, 0);
        assert.is(nic.read(first + 4 * i), 0, `${name}(${i}), round ${round}`);
      }
    }
    // RAL and RAH beyond 0: an address, but not a valid one (8.2.3.7.8, 8.2.3.7.9)
    for (let i = 1; i < 128; i++) {
      assert.is.not(nic.read(R.RAL0 + 8 * i), 0);
      assert.is(nic.read(R.RAL0 + 4 + 8 * i) >>> 31, 0);
    }
    nic.write(R.CTRL, 1 << 26);
  }
  assert.equal(nic.violations, []);
});

registers('an X540 has 384 KiB of receive buffer, and keeps that over a reset', () => {
  const nic = new TestNic({ deviceId: 0x1528 });
  assert.is(nic.read(0x03c00), 384 << 10);
  nic.write(R.CTRL, 1 << 26);
  assert.is(nic.read(0x03c00), 384 << 10);
  nic.write(0x03c00, 512 << 10);
  assert.ok(nic.violations.some((v) => v.startsWith('RXPBSIZE(0): 512 KiB')));
});

registers('never read as all ones after reset', () => {
  const nic = new TestNic();
  for (const block of REGISTERS) {
    for (let n = 0; n < block.count; n++) {
      assert.is.not(nic.read(block.offset + n * block.strideBytes), 0xffffffff, `${block.name}(${n})`);
    }
  }
});

registers('writable storage reads back', () => {
  const nic = new TestNic();
  for (const offset of [0x05c00, 0x05c7c, R.MTA0 + 508, R.VFTA0, 0x0ea00, 0x03d00, 0x11050]) {
    nic.write(offset, 0x12345678);
    assert.is(nic.read(offset), 0x12345678, offset.toString(16));
  }
});

registers('the address, split and RSS registers have the 82598 aliases', () => {
  const nic = new TestNic();
  assert.is(nic.read(0x05400), nic.read(R.RAL0));
  nic.write(0x05408, 0x11223344);
  assert.is(nic.read(R.RAL0 + 8), 0x11223344);
  for (const [alias, register] of [
    [0x05818, R.MRQC],
    [0x05c00 + 4 * 31, R.RETA0 + 4 * 31],
    [0x05c80 + 4 * 9, R.RSSRK0 + 4 * 9],
  ] as const) {
    nic.write(alias, 0x00330001);
    assert.is(nic.read(register), 0x00330001);
    nic.write(register, 0);
    assert.is(nic.read(alias), 0);
  }
  nic.write(0x02100 + 4 * 5, 0x2000002);
  assert.is(nic.read(rx(5, 'SRRCTL')), 0x2000002);
});

registers('address 0 is the EEPROM address and valid', () => {
  const mac = Uint8Array.of(2, 0x11, 0x22, 0x33, 0x44, 0x55);
  const nic = new TestNic({ mac });
  assert.is(nic.read(R.RAL0), 0x33221102);
  assert.is(nic.read(R.RAL0 + 4), 0x80005544);
  nic.write(R.RAL0, 0);
  nic.write(R.CTRL, 1 << 26);
  assert.is(nic.read(R.RAL0), 0x33221102);
});

registers('read-only registers ignore writes and report them', () => {
  const nic = new TestNic();
  nic.write(R.STATUS, 0);
  assert.is(nic.read(R.STATUS), 1 << 19);
  assert.ok(nic.violations.some((v) => v.startsWith('STATUS: ')));
});

registers('reserved bits are reported and not stored', () => {
  const nic = new TestNic();
  nic.write(R.RAL0 + 4, 0x800c5544); // the 82598 had a queue in bits 21:18
  assert.is(nic.read(R.RAL0 + 4), 0x80005544);
  nic.write(R.RXCTRL, 0x81);
  assert.is(nic.read(R.RXCTRL), 1);
  assert.ok(nic.violations.some((v) => v.includes('RXCTRL') && v.includes('0x80')));
});

registers('offsets without a register read 0 and are reported once', () => {
  const nic = new TestNic();
  for (let i = 0; i < 3; i++) assert.is(nic.read(0x7fffc), 0);
  assert.is(nic.violations.length, 1);
});

registers('accesses that are not 32 bits are reported, reads show storage without clearing', () => {
  const nic = new TestNic();
  const two = new Uint8Array(2);
  nic.model.regionRead(BAR0, R.MAXFRS + 2, two);
  assert.is(two[0]! | (two[1]! << 8), 1518);
  nic.model.regionWrite(BAR0, R.MAXFRS + 2, two);
  assert.is(nic.model.violations.count, 2);
});

registers('software reset clears itself and restores registers', () => {
  const nic = new TestNic();
  nic.setUpRx();
  nic.write(R.FCTRL, 0x700);
  nic.write(R.CTRL, nic.read(R.CTRL) | (1 << 26));
  assert.is(nic.read(R.CTRL), 0);
  assert.is(nic.read(R.FCTRL), 0);
  assert.is(nic.read(rx(0, 'RXDCTL')), 0);
  assert.is(nic.read(rx(0, 'RDBAL')), 0);
});

registers('GIO master disable shows in STATUS', () => {
  const nic = new TestNic();
  nic.write(R.CTRL, 1 << 2);
  assert.is(nic.read(R.STATUS) & (1 << 19), 0);
  nic.write(R.CTRL, 0);
  assert.is(nic.read(R.STATUS) & (1 << 19), 1 << 19);
});

registers('self-clearing and always-ready bits', () => {
  const nic = new TestNic();
  nic.write(R.RDRXCTL, 0);
  assert.is(nic.read(R.RDRXCTL) & 8, 8);
  nic.write(0x0ee00, 1); // FDIRCTRL
  assert.is(nic.read(0x0ee00) & 8, 8, 'FDIRCTRL.INIT_DONE');
  assert.is(nic.read(0x08d04) & 1, 1, 'SECRXSTAT.SECRX_RDY');
  nic.write(rx(0, 'RXDCTL'), (1 << 25) | (1 << 26));
  assert.is(nic.read(rx(0, 'RXDCTL')), 1 << 25, 'SWFLSH clears itself');
});

registers.run();
