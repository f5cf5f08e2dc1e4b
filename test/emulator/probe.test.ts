/** What drivers probe before they touch a queue: configuration space, EEPROM, semaphores, MDIO, I2C, link. */
import * as assert from 'uvu/assert';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { CONFIG, R, Recorder, TestNic } from './support.js';

const EEC = 0x10010; // 8.2.3.2.1
const EERD = 0x10014; // 8.2.3.2.2
const SWSM = 0x10140; // 8.2.3.4.11
const SW_FW_SYNC = 0x10160; // 8.2.3.4.13
const MSCA = 0x0425c; // 8.2.3.22.11
const MSRWD = 0x04260;
const AUTOC = 0x042a0;

function readWord(nic: TestNic, address: number): number {
  nic.write(EERD, (address << 2) | 1);
  const value = nic.read(EERD);
  assert.is(value & 2, 2, 'EERD.DONE');
  return value >>> 16;
}

const config = suite('configuration space');

config('identifies the device', () => {
  for (const deviceId of [0x10fb, 0x10f7, 0x1528]) {
    const nic = new TestNic({ deviceId });
    assert.is(nic.config16(0), 0x8086);
    assert.is(nic.config16(2), deviceId);
    assert.is(nic.config16(0x0a), 0x0200);
  }
  assert.throws(() => new TestNic({ deviceId: 0x1234 }), /8086:1234/);
});

config('has its capabilities where drivers hard-code them', () => {
  const nic = new TestNic();
  const chain: number[][] = [];
  for (let at = nic.config16(0x34) & 0xff; at !== 0; at = nic.config16(at) >>> 8) {
    chain.push([at, nic.config16(at) & 0xff]);
  }
  assert.equal(chain, [
    [0x40, 1],
    [0x50, 5],
    [0x70, 0x11],
    [0xa0, 0x10],
  ]);
  assert.is(nic.config16(0x72), 63, '64 MSI-X vectors');
  assert.is(nic.config16(0x74) & 7, 4, 'table in BAR4');
  assert.is(nic.config16(0xb2) & 0x3ff, 0x82, 'eight lanes at 5 GT/s');
});

config('tells BAR sizes when all ones are written', () => {
  const nic = new TestNic();
  const ones = Uint8Array.of(255, 255, 255, 255);
  const size = (offset: number): number => {
    nic.model.regionWrite(CONFIG, offset, ones);
    const bytes = new Uint8Array(4);
    nic.model.regionRead(CONFIG, offset, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  assert.is(size(0x10), 0xfff8000c);
  assert.is(size(0x14), 0xffffffff);
  assert.is(size(0x20), 0xffffc00c);
  assert.is(size(0x18), 0);
});

config('function-level reset turns bus mastering off', () => {
  const nic = new TestNic().enableBusMaster();
  nic.write(R.FCTRL, 0x700);
  nic.setConfig16(0xa8, 0x8000);
  assert.is(nic.config16(4), 0);
  assert.is(nic.read(R.FCTRL), 0);
  assert.is(nic.config16(0xa8) & 0x8000, 0);
});

config('the MSI-X table is storage', () => {
  const nic = new TestNic();
  nic.model.regionWrite(4, 16, Uint8Array.of(1, 2, 3, 4));
  const bytes = new Uint8Array(4);
  nic.model.regionRead(4, 16, bytes);
  assert.equal([...bytes], [1, 2, 3, 4]);
});

config.run();

const eeprom = suite('EEPROM');

eeprom('has the checksum drivers verify', () => {
  const nic = new TestNic();
  assert.is(nic.read(EEC) & 0x300, 0x300, 'present, auto-read done');
  let sum = 0;
  for (let i = 0; i <= 0x3f; i++) sum += readWord(nic, i);
  for (let pointer = 3; pointer <= 0xe; pointer++) {
    const at = readWord(nic, pointer);
    if (at === 0 || at === 0xffff) continue;
    const length = readWord(nic, at);
    for (let i = 1; i <= length; i++) sum += readWord(nic, at + i);
  }
  assert.is(sum & 0xffff, 0xbaba);
});

eeprom('gives the same words by the serial interface', () => {
  const nic = new TestNic();
  const SK = 1,
    CS = 2,
    DI = 4,
    DO = 8,
    REQ = 0x40,
    GNT = 0x80;
  nic.write(EEC, nic.read(EEC) | REQ);
  assert.is(nic.read(EEC) & GNT, GNT);
  const out = (value: number, bits: number): void => {
    for (let bit = bits - 1; bit >= 0; bit--) {
      const data = ((value >>> bit) & 1) !== 0 ? DI : 0;
      nic.write(EEC, REQ | data);
      nic.write(EEC, REQ | data | SK);
      nic.write(EEC, REQ | data);
    }
  };
  const input = (bits: number): number => {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      nic.write(EEC, REQ | SK);
      value = (value << 1) | ((nic.read(EEC) & DO) !== 0 ? 1 : 0);
      nic.write(EEC, REQ);
    }
    return value;
  };
  for (const address of [0, 0x2c, 0x3f, 0x81]) {
    nic.write(EEC, REQ | CS);
    nic.write(EEC, REQ);
    out(0x05, 8); // read status
    assert.is(input(8) & 1, 0, 'ready');
    nic.write(EEC, REQ | CS);
    nic.write(EEC, REQ);
    out(0x03, 8); // read
    out(address * 2, 16);
    const swapped = input(16);
    assert.is(((swapped & 0xff) << 8) | (swapped >>> 8), readWord(nic, address));
  }
});

eeprom('keeps what EEWR writes until the model ends', () => {
  const nic = new TestNic({ deviceId: 0x1528 });
  nic.write(0x10018, (0xabcd << 16) | (0x30 << 2) | 1);
  assert.is(nic.read(0x10018) & 2, 2);
  assert.is(readWord(nic, 0x30), 0xabcd);
});

eeprom.run();

const management = suite('semaphores, MDIO, I2C');

management('SWSM.SMBI is taken by reading', () => {
  const nic = new TestNic();
  assert.is(nic.read(SWSM) & 1, 0);
  assert.is(nic.read(SWSM) & 1, 1);
  nic.write(SWSM, 3);
  assert.is(nic.read(SWSM) & 2, 2, 'SWESMBI sticks');
  nic.write(SWSM, 0);
  assert.is(nic.read(SWSM) & 1, 0);
});

management('SW_FW_SYNC reads back; on X540 bit 31 is taken by reading', () => {
  const nic = new TestNic();
  nic.write(SW_FW_SYNC, 0x5);
  assert.is(nic.read(SW_FW_SYNC), 0x5);
  const x540 = new TestNic({ deviceId: 0x1528 });
  assert.is(x540.read(SW_FW_SYNC), 0);
  assert.is(x540.read(SW_FW_SYNC), 0x80000000);
});

management('MDIO: no PHY on the 82599, 0x0154 0200 on the X540', () => {
  const id = (nic: TestNic, register: number): number => {
    nic.write(MSCA, (1 << 16) | register | (1 << 30));
    assert.is(nic.read(MSCA) & (1 << 30), 0);
    nic.write(MSCA, (1 << 16) | register | (3 << 26) | (1 << 30));
    return nic.read(MSRWD) >>> 16;
  };
  assert.is(id(new TestNic(), 2), 0xffff);
  const x540 = new TestNic({ deviceId: 0x1528 });
  assert.is(id(x540, 2), 0x0154);
  assert.is(id(x540, 3), 0x0200);
});

management('nobody acknowledges on the I2C bus of a card without a cage', () => {
  const nic = new TestNic({ deviceId: 0x10f7 });
  nic.write(0x28, 0xa); // clock and data released high
  assert.is(nic.read(0x28) & 5, 5);
  nic.write(0x28, 0x2);
  assert.is(nic.read(0x28) & 5, 1);
});

management.run();

const link = suite('link state');

link('is up while a partner is there, and changes raise LSC', () => {
  const nic = new TestNic();
  assert.is(nic.read(R.LINKS) & (1 << 30), 0);
  const connection = connect(nic.model, new Recorder());
  assert.is(nic.read(R.LINKS) & 0x70000000, 0x70000000, 'up at 10 Gbit/s');
  assert.is(nic.read(R.EICR) & (1 << 20), 1 << 20);
  connection.setCarrier(false);
  assert.is(nic.read(R.LINKS) & (1 << 30), 0);
  assert.is(nic.read(R.EICR) & (1 << 20), 1 << 20);
});

link('AUTOC restart clears itself and negotiation leaves idle', () => {
  const nic = new TestNic({ deviceId: 0x10f7 });
  const autoc = nic.read(AUTOC);
  assert.is((autoc >>> 13) & 7, 4, 'KX4/KX/KR');
  nic.write(AUTOC, autoc | (1 << 12));
  assert.is(nic.read(AUTOC), autoc);
  assert.is.not(nic.read(0x042b0) & 0xf0000, 0);
});

link('outlives a reset', () => {
  const nic = new TestNic();
  connect(nic.model, new Recorder());
  nic.write(R.CTRL, 1 << 26);
  assert.is(nic.read(R.LINKS) & (1 << 30), 1 << 30);
  nic.write(R.CTRL, 1 << 3);
  assert.is(nic.read(R.LINKS) & (1 << 30), 1 << 30);
});

link.run();
