/**
 * The registers of an Intel 82576 as far as bring-up and shutdown need them to answer; declared from the datasheet
 * (revision 2.63), not from the driver. No packets: tests write descriptors themselves.
 */
import type { RegisterModel } from './fake-vfio.js';

export const R = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  EECD: 0x0010,
  MDIC: 0x0020,
  RCTL: 0x0100,
  RLPML: 0x5004,
  TCTL: 0x0400,
  ICR: 0x1500,
  IMC: 0x150c,
  GPIE: 0x1514,
  EIMS: 0x1524,
  EIMC: 0x1528,
  EIAC: 0x152c,
  EIAM: 0x1530,
  IVAR: 0x1700,
  MPC: 0x4010,
  CRCERRS: 0x4000,
  RLEC: 0x4040,
  RUC: 0x40a4,
  RFC: 0x40a8,
  ROC: 0x40ac,
  RJC: 0x40b0,
  GPRC: 0x4074,
  GPTC: 0x4080,
  GORCL: 0x4088,
  GORCH: 0x408c,
  GOTCL: 0x4090,
  GOTCH: 0x4094,
  RXCSUM: 0x5000,
  MTA: 0x5200,
  RAL0: 0x5400,
  RAH0: 0x5404,
  MRQC: 0x5818,
  SWSM: 0x5b50,
  SW_FW_SYNC: 0x5b5c,
  RETA: 0x5c00,
  RSSRK: 0x5c80,
  // Queue n: + 0x40 * n (8.10.5 and after, 8.12.8 and after).
  RDBAL: 0xc000,
  RDBAH: 0xc004,
  RDLEN: 0xc008,
  SRRCTL: 0xc00c,
  RDH: 0xc010,
  RDT: 0xc018,
  RXDCTL: 0xc028,
  RQDPC: 0xc030,
  TDBAL: 0xe000,
  TDBAH: 0xe004,
  TDLEN: 0xe008,
  TDH: 0xe010,
  TDT: 0xe018,
  TXDCTL: 0xe028,
} as const;

export const QUEUE_STRIDE = 0x40;
/** 8.2.1: device reset, GIO master disable. */
export const CTRL_RST = 1 << 26;
export const CTRL_GIO_MASTER_DISABLE = 1 << 2;
/** 8.10.10, 8.12.13. */
export const QUEUE_ENABLE = 1 << 25;
export const RAH_AV = 0x8000_0000;

const CTRL_FRCSPD = 1 << 11;
const CTRL_FRCDPLX = 1 << 12;
const STATUS_LU = 1 << 1;
const STATUS_FD = 1 << 0;
const STATUS_1000 = 2 << 6;
const STATUS_GIO_MASTER_ENABLE = 1 << 19;
const EECD_AUTO_RD = 1 << 9;
const MDIC_READY = 1 << 28;
/** Polls that something takes to happen: a driver that does not wait is found out. */
const POLLS = 1;
export const TCTL_RESET = 0x0003_f578;

/** Names of waits that can be made to last for ever. */
export type Stuck = 'GIO_MASTER' | 'RST' | 'RXDCTL' | 'TXDCTL' | 'SMBI' | 'SWESMBI' | 'SW_FW_SYNC' | 'MDIC';

export class Fake82576 implements RegisterModel {
  readonly registers = new Map<number, number>();
  /** What never happens. */
  readonly stuck = new Set<Stuck>();
  /** Called after a register was written. */
  onWrite: (offset: number, value: number) => void = () => {};
  linkUp = true;
  /** Bytes of the EEPROM's address, in the order of the wire. */
  readonly mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0xf5];
  #resets = 0;
  #counters = new Map<number, number>();
  /** Polls that a pending change still takes, by register. */
  readonly #delays = new Map<number, number>();

  constructor() {
    this.#defaults();
  }

  /** Full resets so far, by RST or of the function. */
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
        if ((value & CTRL_RST) !== 0 && !this.stuck.has('RST') && this.#due(R.CTRL)) {
          this.reset();
          return value;
        }
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
      case R.SWSM: {
        // 8.16.1: a read that finds SMBI 0 takes it.
        const value = this.get(R.SWSM) | (this.stuck.has('SMBI') ? 1 : 0);
        this.registers.set(R.SWSM, value | 1);
        return value;
      }
      case R.SW_FW_SYNC:
        return this.get(R.SW_FW_SYNC) | (this.stuck.has('SW_FW_SYNC') ? 0x0006_0000 : 0);
      case R.GORCL:
      case R.GOTCL:
        return this.#counters.get(offset) ?? 0;
      default:
        return this.#counters.has(offset) ? this.#readToClear(offset) : this.#queueControl(offset);
    }
  }

  write(offset: number, value: number): void {
    const before = this.get(offset);
    if (offset === R.SWSM) {
      const sticks = this.stuck.has('SWESMBI') ? value & ~2 : value;
      this.registers.set(offset, sticks >>> 0);
    } else {
      this.registers.set(offset, value);
    }
    if (isQueueControl(offset) && ((before ^ value) & QUEUE_ENABLE) !== 0) this.#delays.set(offset, POLLS);
    if (offset === R.CTRL || offset === R.MDIC) this.#delays.set(offset, POLLS);
    if (offset === R.CTRL) this.#delays.set(R.STATUS, POLLS);
    this.onWrite(offset, value);
  }

  /** 8.2.2: GIO master enable goes down some time after the request; link, speed and duplex. */
  #status(): number {
    const disabling = (this.get(R.CTRL) & CTRL_GIO_MASTER_DISABLE) !== 0 && !this.stuck.has('GIO_MASTER');
    const master = disabling && this.#due(R.STATUS) ? 0 : STATUS_GIO_MASTER_ENABLE;
    return master | (this.linkUp ? STATUS_LU | STATUS_FD | STATUS_1000 : 0);
  }

  /** ENABLE reads back what it was until the queue has got there. */
  #queueControl(offset: number): number {
    const value = this.get(offset);
    if (!isQueueControl(offset)) return value;
    const kind = offset < R.TDBAL ? 'RXDCTL' : 'TXDCTL';
    const arrived = !this.stuck.has(kind) && this.#due(offset);
    return (arrived ? value : value ^ QUEUE_ENABLE) >>> 0;
  }

  #readToClear(offset: number): number {
    const value = this.#counters.get(offset)!;
    this.#counters.set(offset, 0);
    // 8.19: reading the high half clears both.
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
    this.#delays.set(R.EECD, POLLS);
    // An EEPROM that forces speed and duplex.
    this.registers.set(R.CTRL, CTRL_FRCSPD | CTRL_FRCDPLX);
    const [b0, b1, b2, b3, b4, b5] = this.mac as [number, number, number, number, number, number];
    this.registers.set(R.RAL0, (b0 | (b1 << 8) | (b2 << 16) | (b3 << 24)) >>> 0);
    this.registers.set(R.RAH0, b4 | (b5 << 8));
    // 8.12.1: CT and COLD have values after a reset; CT's is another one here, so that setting it shows.
    this.registers.set(R.TCTL, TCTL_RESET);
  }
}

function isQueueControl(offset: number): boolean {
  const inQueue = offset % QUEUE_STRIDE;
  return inQueue === 0x28 && ((offset >= 0xc000 && offset < 0xc400) || (offset >= 0xe000 && offset < 0xe400));
}
