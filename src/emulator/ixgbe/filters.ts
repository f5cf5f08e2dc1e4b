/**
 * Which frames the port takes (7.1.1): exact addresses, broadcast, multicast hash table, promiscuous modes, VLANs.
 * The address table is kept compiled, because it is looked at for every frame and changes almost never.
 */
import type { RegisterFile } from '../device/register-file.js';
import { FCTRL, MCSTCTRL, MTA, RAL, VFTA, VLNCTRL } from './registers.js';

const ADDRESS_COUNT = 128;
const RAH_VALID = 1 << 31;
const FCTRL_MPE = 1 << 8;
const FCTRL_UPE = 1 << 9;
const FCTRL_BAM = 1 << 10;
const MCSTCTRL_MFE = 1 << 2;
const VLNCTRL_CFI = 1 << 28;
const VLNCTRL_CFIEN = 1 << 29;
const VLNCTRL_VFE = 1 << 30;

/** What `Filters.classify` says of a destination. */
export const CAST = { REJECTED: 0, UNICAST: 1, MULTICAST: 2, BROADCAST: 3 } as const;

export class Filters {
  /** Whether the last accepted multicast frame passed by hash only (descriptor bit PIF). */
  inexact = false;
  readonly #registers: RegisterFile;
  // Valid addresses: the first four bytes as a little-endian word, the last two as a half-word.
  readonly #low = new Int32Array(ADDRESS_COUNT);
  readonly #high = new Int32Array(ADDRESS_COUNT);
  #count = 0;

  constructor(registers: RegisterFile) {
    this.#registers = registers;
    // RAL and RAH lie at 0xA200; the first 16 also at 0x5400, where the 82598 had them.
    for (const [name, part] of [
      ['RAL', 0],
      ['RAH', 4],
    ] as const) {
      registers.hook(
        name,
        (index) => registers.peek(RAL + index * 8 + part),
        (value, index) => {
          registers.poke(RAL + index * 8 + part, value);
          this.#compile();
        },
      );
    }
  }

  /** Address 0 comes from the EEPROM at reset. */
  reset(mac: Uint8Array): void {
    const low = mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24);
    this.#registers.poke(RAL, low);
    this.#registers.poke(RAL + 4, mac[4]! | (mac[5]! << 8) | RAH_VALID);
    this.#compile();
  }

  #compile(): void {
    let count = 0;
    for (let i = 0; i < ADDRESS_COUNT; i++) {
      const high = this.#registers.peek(RAL + i * 8 + 4);
      if ((high & RAH_VALID) === 0) continue;
      this.#low[count] = this.#registers.peek(RAL + i * 8);
      this.#high[count] = high & 0xffff;
      count++;
    }
    this.#count = count;
  }

  /** Kind of destination (`CAST`), or 0 where no filter takes it. The frame has at least 14 bytes. */
  classify(bytes: Uint8Array, offset: number): number {
    const low =
      bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24);
    const high = bytes[offset + 4]! | (bytes[offset + 5]! << 8);
    this.inexact = false;
    const control = this.#registers.peek(FCTRL);
    if ((low & 1) === 0) {
      if ((control & FCTRL_UPE) !== 0) return CAST.UNICAST;
      return this.#isOurs(low, high) ? CAST.UNICAST : CAST.REJECTED;
    }
    if (low === -1 && high === 0xffff) return (control & FCTRL_BAM) !== 0 ? CAST.BROADCAST : CAST.REJECTED;
    if ((control & FCTRL_MPE) !== 0 || this.#isOurs(low, high)) return CAST.MULTICAST;
    if (!this.#isInMulticastTable(bytes[offset + 4]!, bytes[offset + 5]!)) return CAST.REJECTED;
    this.inexact = true;
    return CAST.MULTICAST;
  }

  #isOurs(low: number, high: number): boolean {
    for (let i = 0; i < this.#count; i++) {
      if (this.#low[i] === low && this.#high[i] === high) return true;
    }
    return false;
  }

  /** MCSTCTRL.MO chooses which 12 bits of the address index the table: 47:36, 46:35, 45:34 or 43:32 (8.2.3.7.3). */
  #isInMulticastTable(byte4: number, byte5: number): boolean {
    const control = this.#registers.peek(MCSTCTRL);
    if ((control & MCSTCTRL_MFE) === 0) return false;
    const shift = [4, 3, 2, 0][control & 3]!;
    const index = (((byte5 << 8) | byte4) >>> shift) & 0xfff;
    return ((this.#registers.peek(MTA + (index >>> 5) * 4) >>> (index & 31)) & 1) !== 0;
  }

  /** Whether the VLAN filter takes a frame with this tag (7.1.1.2). */
  takesVlan(tag: number): boolean {
    const control = this.#registers.peek(VLNCTRL);
    if ((control & VLNCTRL_VFE) === 0) return true;
    if ((control & VLNCTRL_CFIEN) !== 0 && ((tag >>> 12) & 1) !== ((control & VLNCTRL_CFI) === 0 ? 0 : 1))
      return false;
    const id = tag & 0xfff;
    return ((this.#registers.peek(VFTA + (id >>> 5) * 4) >>> (id & 31)) & 1) !== 0;
  }
}
