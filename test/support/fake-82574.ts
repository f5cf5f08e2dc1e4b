/**
 * The registers of an Intel 82574 as far as bring-up and shutdown need them to answer; declared from the datasheet
 * (revision 3.4, 10.2), not from the driver. No packets: tests write descriptors themselves.
 */
import type { RegisterModel } from './fake-vfio.js';

export const R = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  EECD: 0x0010,
  CTRL_EXT: 0x0018,
  MDIC: 0x0020,
  ICR: 0x00c0,
  IMS: 0x00d0,
  IMC: 0x00d8,
  EIAC: 0x00dc,
  IAM: 0x00e0,
  IVAR: 0x00e4,
  RCTL: 0x0100,
  TCTL: 0x0400,
  EXTCNF_CTRL: 0x0f00,
  // Queue n: + 0x100 * n.
  RDBAL: 0x2800,
  RDBAH: 0x2804,
  RDLEN: 0x2808,
  RDH: 0x2810,
  RDT: 0x2818,
  RXDCTL: 0x2828,
  TDBAL: 0x3800,
  TDBAH: 0x3804,
  TDLEN: 0x3808,
  TDH: 0x3810,
  TDT: 0x3818,
  TXDCTL: 0x3828,
  TARC: 0x3840,
  CRCERRS: 0x4000,
  MPC: 0x4010,
  RLEC: 0x4040,
  GPRC: 0x4074,
  GPTC: 0x4080,
  GORCL: 0x4088,
  GORCH: 0x408c,
  GOTCL: 0x4090,
  GOTCH: 0x4094,
  RUC: 0x40a4,
  RFC: 0x40a8,
  ROC: 0x40ac,
  RJC: 0x40b0,
  RXCSUM: 0x5000,
  RFCTL: 0x5008,
  MTA: 0x5200,
  RAL0: 0x5400,
  RAH0: 0x5404,
  MRQC: 0x5818,
  GCR: 0x5b00,
  GCR2: 0x5b64,
  RETA: 0x5c00,
  RSSRK: 0x5c80,
} as const;

export const QUEUE_STRIDE = 0x100;
/** 10.2.2.1: device reset, GIO master disable. */
export const CTRL_RST = 1 << 26;
export const CTRL_GIO_MASTER_DISABLE = 1 << 2;
export const RAH_AV = 0x8000_0000;
/** 10.2.2.13: the software's turn, the hardware's. */
export const MDIO_SW = 1 << 5;
const MDIO_HW = 1 << 6;
const CTRL_FRCSPD = 1 << 11;
const CTRL_FRCDPLX = 1 << 12;
const STATUS_FD = 1 << 0;
const STATUS_LU = 1 << 1;
const STATUS_1000 = 2 << 6;
const STATUS_GIO_MASTER_ENABLE = 1 << 19;
const EECD_AUTO_RD = 1 << 9;
const MDIC_READY = 1 << 28;
/** Reserved bits of CTRL_EXT that are on after a reset here, so that clearing 23 shows. */
export const CTRL_EXT_RESET = 1 << 23;
/** CT and COLD have other values here than they need, so that setting them shows. */
export const TCTL_RESET = 0x3000_0008;
/** Both queues take part in the arbitration; 30:27 are on, so that clearing them shows. */
export const TARC_RESET = (0xf << 27) | 0x403;

/** Names of waits that can be made to last for ever. */
export type Stuck = 'GIO_MASTER' | 'RST' | 'MDIO_SW' | 'MDIC';

export class Fake82574 implements RegisterModel {
  readonly registers = new Map<number, number>();
  readonly stuck = new Set<Stuck>();
  /** Called after a register was written. */
  onWrite: (offset: number, value: number) => void = () => {};
  linkUp = true;
  /** Bytes of the EEPROM's address, in the order of the wire. */
  readonly mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0xf5];
  /** What the PHY's control register was written last. */
  phyControl = 0;
  readonly #counters = new Map<number, number>();
  /** Polls that a pending change still takes, by register. */
  readonly #delays = new Map<number, number>();
  #resets = 0;

  constructor() {
    this.#defaults();
  }

  get resets(): number {
    return this.#resets;
  }

  get(offset: number): number {
    return this.registers.get(offset) ?? 0;
  }

  /** Statistics live through a reset here, as values to be found at the next open. */
  count(offset: number, value: number): void {
    this.#counters.set(offset, value);
  }

  reset(): void {
    this.#resets++;
    this.#defaults();
  }

  read(offset: number): number {
    switch (offset) {
      case R.CTRL: {
        const value = this.get(R.CTRL);
        if ((value & CTRL_RST) !== 0 && !this.stuck.has('RST') && this.#due(R.CTRL)) this.reset();
        return value;
      }
      case R.STATUS:
        return this.#status();
      case R.EECD:
        return this.#due(R.EECD) ? EECD_AUTO_RD : 0;
      case R.MDIC: {
        const ready = !this.stuck.has('MDIC') && this.#due(R.MDIC);
        return (this.get(R.MDIC) | (ready ? MDIC_READY : 0)) >>> 0;
      }
      case R.ICR: {
        // 10.2.4.1: reading clears.
        const value = this.get(R.ICR);
        this.registers.set(R.ICR, 0);
        return value;
      }
      case R.GORCL:
      case R.GOTCL:
        return this.#counters.get(offset) ?? 0;
      default:
        return this.#counters.has(offset) ? this.#readToClear(offset) : this.get(offset);
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case R.ICR:
        this.registers.set(R.ICR, (this.get(R.ICR) & ~value) >>> 0);
        break;
      case R.IMS:
        this.registers.set(R.IMS, (this.get(R.IMS) | value) >>> 0);
        break;
      case R.IMC:
        this.registers.set(R.IMS, (this.get(R.IMS) & ~value) >>> 0);
        break;
      case R.EXTCNF_CTRL:
        // The bit sticks only while nobody else has the wires.
        this.registers.set(offset, this.stuck.has('MDIO_SW') ? MDIO_HW | (value & ~MDIO_SW) : value);
        break;
      case R.MDIC:
        this.registers.set(offset, value);
        this.#writeMdic(value);
        break;
      default:
        this.registers.set(offset, value);
    }
    if (offset === R.CTRL || offset === R.MDIC) this.#delays.set(offset, 1);
    if (offset === R.CTRL) this.#delays.set(R.STATUS, 1);
    this.onWrite(offset, value);
  }

  #writeMdic(value: number): void {
    const writes = ((value >>> 26) & 3) === 1;
    const [phy, register] = [(value >>> 21) & 0x1f, (value >>> 16) & 0x1f];
    if (writes && phy === 1 && register === 0) this.phyControl = value & 0xffff;
  }

  /** GIO master enable goes down some time after the request; link, speed and duplex. */
  #status(): number {
    const disabling = (this.get(R.CTRL) & CTRL_GIO_MASTER_DISABLE) !== 0 && !this.stuck.has('GIO_MASTER');
    const master = disabling && this.#due(R.STATUS) ? 0 : STATUS_GIO_MASTER_ENABLE;
    return master | (this.linkUp ? STATUS_LU | STATUS_FD | STATUS_1000 : 0);
  }

  #readToClear(offset: number): number {
    const value = this.#counters.get(offset)!;
    this.#counters.set(offset, 0);
    // Reading the high half clears both.
    if (offset === R.GORCH || offset === R.GOTCH) this.#counters.set(offset - 4, 0);
    return value;
  }

  #due(offset: number): boolean {
    const left = this.#delays.get(offset) ?? 0;
    this.#delays.set(offset, Math.max(0, left - 1));
    return left === 0;
  }

  #defaults(): void {
    this.registers.clear();
    this.#delays.clear();
    this.#delays.set(R.EECD, 1);
    // An EEPROM that forces speed and duplex.
    this.registers.set(R.CTRL, CTRL_FRCSPD | CTRL_FRCDPLX);
    this.registers.set(R.CTRL_EXT, CTRL_EXT_RESET);
    const [b0, b1, b2, b3, b4, b5] = this.mac as [number, number, number, number, number, number];
    this.registers.set(R.RAL0, (b0 | (b1 << 8) | (b2 << 16) | (b3 << 24)) >>> 0);
    this.registers.set(R.RAH0, b4 | (b5 << 8));
    this.registers.set(R.TCTL, TCTL_RESET);
    this.registers.set(R.TARC, TARC_RESET);
    this.registers.set(R.TARC + QUEUE_STRIDE, TARC_RESET);
  }
}
