/** The module in the SFP cage, read over I2C bit by bit as drivers do (82599 datasheet 8.2.3.1.5; SFF-8472). */
import * as assert from 'uvu/assert';
import { connect } from '../../src/emulator/link.js';
import { suite } from '../support/suite.js';
import { Recorder, TestNic } from './support.js';

const I2CCTL = 0x00028;
const CLOCK_IN = 1 << 0;
const CLOCK_OUT = 1 << 1;
const DATA_IN = 1 << 2;
const DATA_OUT = 1 << 3;

const IDENTIFICATION = 0xa0;
const DIAGNOSTICS = 0xa2;

/** The driver's end of the bus. */
class Bus {
  readonly #nic: TestNic;
  #lines = CLOCK_OUT | DATA_OUT;

  constructor(nic: TestNic) {
    this.#nic = nic;
    this.#put();
  }

  #put(): void {
    this.#nic.write(I2CCTL, this.#lines);
  }

  clock(high: boolean): void {
    this.#lines = high ? this.#lines | CLOCK_OUT : this.#lines & ~CLOCK_OUT;
    this.#put();
  }

  data(high: boolean): void {
    this.#lines = high ? this.#lines | DATA_OUT : this.#lines & ~DATA_OUT;
    this.#put();
  }

  get level(): boolean {
    return (this.#nic.read(I2CCTL) & DATA_IN) !== 0;
  }

  start(): void {
    this.data(true);
    this.clock(true);
    this.data(false);
    this.clock(false);
  }

  stop(): void {
    this.data(false);
    this.clock(true);
    this.data(true);
  }

  bit(value: boolean): boolean {
    this.data(value);
    this.clock(true);
    const level = this.level;
    this.clock(false);
    return level;
  }

  /** @returns whether it was acknowledged */
  write(byte: number): boolean {
    for (let i = 7; i >= 0; i--) this.bit(((byte >>> i) & 1) !== 0);
    return !this.bit(true);
  }

  read(more: boolean): number {
    let byte = 0;
    for (let i = 0; i < 8; i++) byte = (byte << 1) | (this.bit(true) ? 1 : 0);
    this.bit(!more);
    return byte;
  }

  /** A random read: the offset is written, then read from there. */
  bytes(address: number, offset: number, count: number): number[] {
    this.start();
    assert.ok(this.write(address), 'address acknowledged');
    assert.ok(this.write(offset), 'offset acknowledged');
    this.start();
    assert.ok(this.write(address | 1), 'read acknowledged');
    const bytes = Array.from({ length: count }, (_, i) => this.read(i < count - 1));
    this.stop();
    return bytes;
  }
}

const text = (bytes: readonly number[]): string => String.fromCharCode(...bytes);
const sum = (bytes: readonly number[]): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff;
const word = (bytes: readonly number[]): number => (bytes[0]! << 8) | bytes[1]!;

const sfp = suite('SFP module');

sfp('identifies itself as 10GBASE-SR, with right check codes', () => {
  const nic = new TestNic({ mac: Uint8Array.of(2, 0, 0, 0xab, 0xcd, 0xef) });
  const page = new Bus(nic).bytes(IDENTIFICATION, 0, 256);
  assert.equal(page.slice(0, 4), [0x03, 0x04, 0x07, 0x10]); // SFP, LC, 10GBASE-SR
  assert.is(text(page.slice(20, 36)), 'BAREWIRE        ');
  assert.is(text(page.slice(68, 84)), 'BW020000ABCDEF  ');
  assert.is(word(page.slice(60, 62)), 850);
  assert.is(page[63], sum(page.slice(0, 63)), 'CC_BASE');
  assert.is(page[95], sum(page.slice(64, 95)), 'CC_EXT');
  assert.is(page[92]! & 0x60, 0x60, 'diagnostics, calibrated inside');
  assert.equal(nic.violations, []);
});

sfp('gives single bytes at any offset, and goes round at the end', () => {
  const bus = new Bus(new TestNic());
  const page = bus.bytes(IDENTIFICATION, 0, 256);
  for (const offset of [0, 3, 20, 95, 255]) {
    assert.equal(bus.bytes(IDENTIFICATION, offset, 1), [page[offset]]);
  }
  assert.equal(bus.bytes(IDENTIFICATION, 254, 4), [page[254], page[255], page[0], page[1]]);
});

sfp('measures: light comes in while the link is up', () => {
  const nic = new TestNic();
  const bus = new Bus(nic);
  const dark = bus.bytes(DIAGNOSTICS, 0, 128);
  assert.is(dark[95], sum(dark.slice(0, 95)), 'CC_DMI');
  assert.is(word(dark.slice(104)), 0, 'no light');
  assert.is(dark[110]! & 2, 2, 'RX_LOS');
  assert.is(dark[113]! & 0x40, 0x40, 'alarm');
  connect(nic.model, new Recorder());
  const lit = bus.bytes(DIAGNOSTICS, 0, 128);
  assert.is(word(lit.slice(104)), 5000, '0.5 mW');
  assert.equal([lit[110], lit[113], lit[117]], [0, 0, 0]);
  assert.is(word(lit.slice(96)), 35 * 256, 'degrees');
  assert.is(word(lit.slice(98)), 33000, 'volts');
  // Each value is inside its own warning limits.
  for (let i = 0; i < 5; i++) {
    const value = word(lit.slice(96 + 2 * i));
    assert.ok(value < word(lit.slice(8 * i + 4)), `high warning ${i}`);
    if (i > 0) assert.ok(value > word(lit.slice(8 * i + 6)), `low warning ${i}`);
  }
});

sfp('is write-protected', () => {
  const bus = new Bus(new TestNic());
  const before = bus.bytes(IDENTIFICATION, 0, 8);
  bus.start();
  for (const byte of [IDENTIFICATION, 0, 0xff, 0xff]) assert.ok(bus.write(byte));
  bus.stop();
  assert.equal(bus.bytes(IDENTIFICATION, 0, 8), before);
});

sfp('answers at its own addresses only, and not in cards without a cage', () => {
  const bus = new Bus(new TestNic());
  bus.start();
  assert.not(bus.write(0xa4));
  bus.stop();
  for (const deviceId of [0x10f7, 0x1528]) {
    const other = new Bus(new TestNic({ deviceId }));
    other.start();
    assert.not(other.write(IDENTIFICATION));
    other.stop();
  }
});

sfp('lets the lines go, also after a transfer that was broken off', () => {
  const nic = new TestNic();
  const bus = new Bus(nic);
  const whole = bus.bytes(IDENTIFICATION, 0, 4);
  bus.start();
  bus.write(IDENTIFICATION);
  bus.bit(true);
  assert.equal(bus.bytes(IDENTIFICATION, 0, 4), whole, 'a new start begins anew');
  bus.start();
  bus.write(IDENTIFICATION | 1);
  nic.write(0, 1 << 26);
  nic.write(I2CCTL, CLOCK_OUT | DATA_OUT);
  assert.is(nic.read(I2CCTL) & (CLOCK_IN | DATA_IN), CLOCK_IN | DATA_IN, 'and so does a reset');
});

sfp('the EEPROM says how to set the MAC up for it', () => {
  // Word 0x2B leads to a list of pairs: kind of module, where its values for CORECTL are; each list ends in 0xFFFF.
  const nic = new TestNic();
  const eerd = (address: number): number => {
    nic.write(0x10014, (address << 2) | 1);
    return nic.read(0x10014) >>> 16;
  };
  const kinds = new Map<number, number>();
  for (let at = eerd(0x2b) + 1; eerd(at) !== 0xffff; at += 2) kinds.set(eerd(at), eerd(at + 1));
  for (const kind of [5, 6]) {
    let at = kinds.get(kind)! + 1;
    while (eerd(at) !== 0xffff && at < 0x200) at++;
    assert.ok(at < 0x200, `SR module, port ${kind - 5}`);
  }
});

sfp.run();
