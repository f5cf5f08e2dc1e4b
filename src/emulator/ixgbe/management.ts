/**
 * What drivers share with firmware and with each other: semaphores (8.2.3.4.11 SWSM, 8.2.3.4.13 SW_FW_SYNC), the
 * MDIO bus with an X540's PHY on it, and the I2C bus to the module in an SFP cage.
 */
import type { RegisterFile } from '../device/register-file.js';
import { I2cBus, type I2cDevice } from './i2c-bus.js';
import { I2CCTL, MSRWD } from './registers.js';

const SWSM = 0x10140;
const SWSM_SMBI = 1 << 0;
const SWSM_SWESMBI = 1 << 1;
const SW_FW_SYNC = 0x10160;
const REGSMP = 1 << 31;

const MSCA = 0x0425c;
const MSCA_COMMAND = 1 << 30;
const NO_PHY = 0xffff;

const I2C_CLOCK_IN = 1 << 0;
const I2C_CLOCK_OUT = 1 << 1;
const I2C_DATA_IN = 1 << 2;
const I2C_DATA_OUT = 1 << 3;

/** Registers of the X540's 10GBASE-T PHY that drivers read: `device << 16 | address`. */
const X540_PHY: readonly (readonly [number, number])[] = [
  [0x10001, 0x0004], // PMA status: receive link up
  [0x10002, 0x0154], // identifier 0x01540200
  [0x10003, 0x0200],
  [0x10004, 0x0031], // 10 Gbit/s, 1 Gbit/s, 100 Mbit/s
  [0x1000b, 0x00a4], // 10GBASE-T, 1000BASE-T, 100BASE-TX
  [0x40001, 0x0004],
  [0x70000, 0x3000],
  [0x70001, 0x002c], // auto-negotiation complete, link up
  [0x70010, 0x9001],
  [0x70020, 0x1001],
  [0x7c400, 0xc001],
  [0x7c800, 0x0007], // negotiated 10 Gbit/s full duplex
  [0x1e0001, 0x0008],
];

export interface PluggedIn {
  /** An X540's PHY answers at MDIO address 0. */
  readonly phy?: boolean;
  /** The memory of an SFP module. */
  readonly module?: I2cDevice;
}

export class Management {
  readonly #registers: RegisterFile;
  readonly #i2cBus: I2cBus;
  readonly #phy: Map<number, number> | undefined;

  constructor(registers: RegisterFile, plugged: PluggedIn) {
    this.#registers = registers;
    this.#i2cBus = new I2cBus(plugged.module);
    const isX540 = plugged.phy === true;
    this.#phy = isX540 ? new Map(X540_PHY) : undefined;
    registers.hook(
      'SWSM',
      () => this.#readSemaphore(),
      (value) => registers.poke(SWSM, value & 0x7),
    );
    registers.hook('SW_FW_SYNC', isX540 ? () => this.#readSync() : undefined, undefined);
    registers.hook('MSCA', undefined, (value) => this.#mdio(value));
    registers.hook(
      'I2CCTL',
      () => this.#i2c(),
      (value) => {
        registers.poke(I2CCTL, value & (I2C_CLOCK_OUT | I2C_DATA_OUT));
        this.#i2cBus.drive((value & I2C_CLOCK_OUT) !== 0, (value & I2C_DATA_OUT) !== 0);
      },
    );
    this.reset();
  }

  reset(): void {
    this.#registers.poke(MSRWD, NO_PHY << 16);
    this.#i2cBus.reset();
  }

  /** Reading takes the semaphore: SMBI is 0 for the reader that gets it and 1 afterwards. */
  #readSemaphore(): number {
    const value = this.#registers.peek(SWSM);
    this.#registers.poke(SWSM, value | SWSM_SMBI);
    // Firmware never holds EEPROM access here, so SWESMBI sticks when it is written (bit 1 reads back).
    return value & (SWSM_SMBI | SWSM_SWESMBI | 0x4);
  }

  /** X540: bit 31 guards the register itself, and is taken by reading as well. */
  #readSync(): number {
    const value = this.#registers.peek(SW_FW_SYNC);
    this.#registers.poke(SW_FW_SYNC, value | REGSMP);
    return value;
  }

  /** Clause 45: bits 15:0 register, 20:16 device, 25:21 PHY, 27:26 operation. Completes at once. */
  #mdio(value: number): void {
    this.#registers.poke(MSCA, value & ~MSCA_COMMAND);
    if ((value & MSCA_COMMAND) === 0) return;
    const operation = (value >>> 26) & 3;
    const key = (((value >>> 16) & 0x1f) << 16) | (value & 0xffff);
    const present = this.#phy !== undefined && ((value >>> 21) & 0x1f) === 0;
    if (operation === 1) {
      // Reset bits of control registers (15 of register 0) clear themselves.
      const data = this.#registers.peek(MSRWD) & 0xffff;
      if (present) this.#phy.set(key, (key & 0xffff) === 0 ? data & 0x7fff : data);
    } else if (operation >= 2) {
      const data = present ? (this.#phy.get(key) ?? 0) : NO_PHY;
      this.#registers.poke(MSRWD, (data << 16) | (this.#registers.peek(MSRWD) & 0xffff));
    }
  }

  /** Open-drain lines: each reads 1 where nobody pulls it down. */
  #i2c(): number {
    const value = this.#registers.peek(I2CCTL);
    const clock = (value & I2C_CLOCK_OUT) !== 0 ? I2C_CLOCK_IN : 0;
    return value | clock | (this.#i2cBus.data ? I2C_DATA_IN : 0);
  }

  /** The driver may leave bits behind; a device reset frees all semaphores. */
  releaseAll(): void {
    this.#registers.poke(SWSM, 0);
    this.#registers.poke(SW_FW_SYNC, 0);
  }
}
