/**
 * The memory of a 10GBASE-SR module in the SFP cage, as `ethtool -m` shows it: identification at bus address A0h (SFF-8472,
 * table 4-1; once INF-8074) and diagnostics at A2h (table 4-2), with right checksums. What a real module measures is made
 * up here, save for one thing: light comes in while the link is up.
 */
import type { I2cDevice } from './i2c-bus.js';

const PAGE_BYTES = 256;
/** Bus addresses A0h and A2h without the direction bit. */
const IDENTIFICATION = 0x50;
const DIAGNOSTICS = 0x51;

export interface SfpModuleOptions {
  /** Up to 16 characters. */
  readonly serial: string;
  /** Whether light comes in. */
  readonly lit: () => boolean;
}

// Diagnostics, from byte 96 on, and their units.
const RX_POWER = 104;
const STATUS = 110;
const STATUS_RX_LOS = 1 << 1;
const ALARMS = 112;
const WARNINGS = 116;
/** Of the second byte of alarms, and of warnings: too little light. */
const RX_POWER_LOW = 1 << 6;
/** 0.5 mW, in 0.1 uW. */
const RX_POWER_LIT = 5000;

export class SfpModule implements I2cDevice {
  readonly #identification: Uint8Array;
  readonly #diagnostics = buildDiagnostics();
  readonly #lit: () => boolean;

  constructor(options: SfpModuleOptions) {
    this.#identification = buildIdentification(options.serial);
    this.#lit = options.lit;
  }

  read(busAddress: number, offset: number): number | undefined {
    if (busAddress === IDENTIFICATION) return this.#identification[offset];
    if (busAddress !== DIAGNOSTICS) return undefined;
    return this.#lit() ? this.#diagnostics[offset] : this.#inTheDark(offset);
  }

  #inTheDark(offset: number): number | undefined {
    switch (offset) {
      case RX_POWER:
      case RX_POWER + 1:
        return 0;
      case STATUS:
        return STATUS_RX_LOS;
      case ALARMS + 1:
      case WARNINGS + 1:
        return RX_POWER_LOW;
      default:
        return this.#diagnostics[offset];
    }
  }
}

/** Offset, and the bytes or text there. */
type Field = readonly [offset: number, value: readonly number[] | string];

function fill(bytes: Uint8Array, fields: readonly Field[]): void {
  for (const [offset, value] of fields) {
    bytes.set(typeof value === 'string' ? new TextEncoder().encode(value) : value, offset);
  }
}

/** Check codes are the low byte of the sum of what they cover. */
function checkCode(bytes: Uint8Array, first: number, end: number): number {
  return bytes.subarray(first, end).reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function buildIdentification(serial: string): Uint8Array {
  const bytes = new Uint8Array(PAGE_BYTES);
  fill(bytes, [
    // SFP or SFP+; function by serial ID; LC connector; 10GBASE-SR.
    [0, [0x03, 0x04, 0x07, 0x10]],
    // 64B/66B; 10.3 GBd.
    [11, [0x06, 103]],
    // 80 m of OM2 and 30 m of OM1 fibre, in units of 10 m; 300 m of OM3.
    [16, [8, 3]],
    [19, [30]],
    [20, 'BAREWIRE'.padEnd(16)],
    // 37 to 39, the vendor's OUI: 0 is unspecified.
    [40, 'EMULATED-10G-SR'.padEnd(16)],
    [56, '1'.padEnd(4)],
    // 850 nm.
    [60, [850 >>> 8, 850 & 0xff]],
    // TX_DISABLE, TX_FAULT and LOS are there.
    [65, [0x1a]],
    [68, serial.slice(0, 16).padEnd(16)],
    [84, '260101'.padEnd(8)],
    // Diagnostics, calibrated inside, average power; alarms and soft LOS; SFF-8472 revision 11.0.
    [92, [0x68, 0x90, 0x05]],
  ]);
  bytes[63] = checkCode(bytes, 0, 63);
  bytes[95] = checkCode(bytes, 64, 95);
  return bytes;
}

/** Big-endian 16-bit values. */
function words(...values: number[]): number[] {
  return values.flatMap((value) => [(value >>> 8) & 0xff, value & 0xff]);
}

function buildDiagnostics(): Uint8Array {
  const bytes = new Uint8Array(PAGE_BYTES);
  fill(bytes, [
    // High alarm, low alarm, high warning, low warning of: temperature in 1/256 degree,
    [0, words(75 * 256, -5 * 256, 70 * 256, 0)],
    // supply voltage in 0.1 mV, laser current in 2 uA, light out and light in in 0.1 uW.
    [8, words(36000, 30000, 35000, 31000)],
    [16, words(6000, 500, 5000, 1000)],
    [24, words(12589, 1259, 7943, 1585)],
    [32, words(12589, 100, 7943, 158)],
    // Calibration constants that change nothing: 1.0 as a float for light in, slopes of 1.
    [68, [0x3f, 0x80, 0, 0]],
    [76, [1, 0]],
    [80, [1, 0]],
    [84, [1, 0]],
    [88, [1, 0]],
    // 35 degrees, 3.3 V, 6 mA, 0.6 mW out, 0.5 mW in.
    [96, words(35 * 256, 33000, 3000, 6000, RX_POWER_LIT)],
  ]);
  bytes[95] = checkCode(bytes, 0, 95);
  return bytes;
}
