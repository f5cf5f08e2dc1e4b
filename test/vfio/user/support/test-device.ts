/**
 * A device for the tests of the vfio-user server. BAR0 has registers to drive it from the client:
 * write operands, then OP; the operation runs within that write, so its result can be read at once.
 */
import { createSharedMemory, type SharedMemory } from '../../../../src/vfio/user/memory.js';
import type { DeviceHost, ServedDevice, ServedRegion } from '../../../../src/vfio/user/served-device.js';

export const BAR0_BYTES = 0x10000;
export const BAR2_BYTES = 0x100;
/** In config space: memory, 64 bits wide. BAR2 and BAR4 have 32 bits. */
const BAR0_FLAGS = 0x4;
export const CONFIG_BYTES = 0x1000;
/** Mappable parts of BAR0. */
export const AREAS = [
  { offset: 0x2000, sizeBytes: 0x1000 },
  { offset: 0x8000, sizeBytes: 0x2000 },
] as const;

/** Offsets in BAR0. */
export const Register = {
  IOVA_LOW: 0x00,
  IOVA_HIGH: 0x04,
  LENGTH: 0x08,
  OP: 0x0c,
  /** 0 done, 1 no window, 2 window too short, 3 not permitted. */
  STATUS: 0x10,
  VALUE: 0x14,
  ATTACHES: 0x20,
  DETACHES: 0x24,
  RESETS: 0x28,
  /** At the last detach: 1 where the window at IOVA still worked. */
  WINDOW_AT_DETACH: 0x2c,
  GENERATION: 0x30,
  /** Goes back to 0x1234 at reset. */
  SCRATCH: 0x40,
} as const;

export const Op = {
  /** Writes VALUE's low byte LENGTH times at IOVA. */
  FILL: 1,
  /** VALUE = sum of LENGTH bytes at IOVA. */
  SUM: 2,
  /** Raises vector VALUE of interrupt index LENGTH. */
  RAISE: 3,
  THROW: 4,
  /** Stores VALUE in the first word of the first mappable area. */
  STORE_SHARED: 5,
  /** Blocks the process for VALUE milliseconds. */
  SLEEP: 6,
  /** VALUE = bytes from IOVA to the end of its window. */
  REMAINING: 7,
  /** The next reset throws. */
  THROW_AT_RESET: 8,
} as const;

export const IRQ_COUNTS = [1, 4, 40, 1, 1];

export class TestDevice implements ServedDevice {
  readonly regions: readonly (ServedRegion | undefined)[];
  readonly irqCounts = IRQ_COUNTS;
  readonly #shared: SharedMemory;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #config = new Uint8Array(CONFIG_BYTES);
  #host: DeviceHost | undefined;
  #throwAtReset = false;

  constructor() {
    this.#shared = createSharedMemory('test-device', BAR0_BYTES);
    this.#bytes = new Uint8Array(this.#shared.buffer);
    this.#words = new Uint32Array(this.#shared.buffer);
    this.#words[Register.SCRATCH / 4] = 0x1234;
    this.#config.set([0x86, 0x80, 0xfb, 0x10]);
    this.#config[0x10] = BAR0_FLAGS;
    this.regions = [
      { sizeBytes: BAR0_BYTES, readable: true, writable: true, fd: this.#shared.fd, areas: AREAS },
      undefined,
      { sizeBytes: BAR2_BYTES, readable: true, writable: false },
      undefined,
      { sizeBytes: BAR2_BYTES, readable: false, writable: true },
      undefined,
      undefined,
      { sizeBytes: CONFIG_BYTES, readable: true, writable: true },
      undefined,
    ];
  }

  attach(host: DeviceHost): void {
    this.#host = host;
    this.#count(Register.ATTACHES);
  }

  detach(): void {
    const works = this.#window() !== undefined && (this.#window()?.bytes[0] ?? -1) >= 0;
    this.#words[Register.WINDOW_AT_DETACH / 4] = works ? 1 : 0;
    this.#host = undefined;
    this.#count(Register.DETACHES);
  }

  reset(): void {
    if (this.#throwAtReset) {
      this.#throwAtReset = false;
      throw new Error('reset of the test device');
    }
    this.#count(Register.RESETS);
    this.#words[Register.SCRATCH / 4] = 0x1234;
    this.#config[4] = 0;
    this.#config.fill(0, 0x10, 0x28);
    this.#config[0x10] = BAR0_FLAGS;
  }

  regionRead(index: number, offset: number, into: Uint8Array): void {
    if (index === 0) {
      this.#words[Register.GENERATION / 4] = this.#host?.windowGeneration ?? 0;
      into.set(this.#bytes.subarray(offset, offset + into.length));
    } else if (index === 2) {
      into.forEach((_, i) => {
        into[i] = offset + i;
      });
    } else {
      into.set(this.#config.subarray(offset, offset + into.length));
    }
  }

  regionWrite(index: number, offset: number, from: Uint8Array): void {
    if (index === 7) {
      this.#config.set(from, offset);
      this.#config[0x10] = (this.#config[0x10]! & 0xf0) | BAR0_FLAGS;
    }
    if (index !== 0) return;
    this.#bytes.set(from, offset);
    if (offset <= Register.OP && offset + from.length > Register.OP) this.#run(this.#words[Register.OP / 4]!);
  }

  close(): void {
    this.#shared.close();
  }

  #count(register: number): void {
    this.#words[register / 4] = this.#words[register / 4]! + 1;
  }

  #iova(): number {
    return this.#words[Register.IOVA_LOW / 4]! + this.#words[Register.IOVA_HIGH / 4]! * 2 ** 32;
  }

  #window() {
    return this.#host?.findWindow(this.#iova());
  }

  #run(op: number): void {
    const words = this.#words;
    const length = words[Register.LENGTH / 4]!;
    const value = words[Register.VALUE / 4]!;
    words[Register.STATUS / 4] = 0;
    switch (op) {
      case Op.FILL:
        this.#access('writable', length)?.fill(value);
        break;
      case Op.SUM:
        words[Register.VALUE / 4] =
          this.#access('readable', length)?.reduce((sum, byte) => sum + byte, 0) ?? 0;
        break;
      case Op.REMAINING: {
        const window = this.#window();
        words[Register.VALUE / 4] = window === undefined ? 0 : window.iova + window.sizeBytes - this.#iova();
        break;
      }
      case Op.RAISE:
        this.#host?.raiseInterrupt(length, value);
        break;
      case Op.THROW:
        throw new Error('an operation of the test device');
      case Op.STORE_SHARED:
        words[AREAS[0].offset / 4] = value;
        break;
      case Op.SLEEP:
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, value);
        break;
      case Op.THROW_AT_RESET:
        this.#throwAtReset = true;
        break;
    }
  }

  #access(permission: 'readable' | 'writable', length: number): Uint8Array | undefined {
    const window = this.#window();
    const status = this.#words.subarray(Register.STATUS / 4, Register.STATUS / 4 + 1);
    if (window === undefined) {
      status[0] = 1;
      return undefined;
    }
    const offset = this.#iova() - window.iova;
    if (offset + length > window.sizeBytes) {
      status[0] = 2;
      return undefined;
    }
    if (!window[permission]) {
      status[0] = 3;
      return undefined;
    }
    return window.bytes.subarray(offset, offset + length);
  }
}
