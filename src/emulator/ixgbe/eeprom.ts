/**
 * The EEPROM: its contents, reading by EERD (8.2.3.2.2) and by clocking the SPI part through EEC (8.2.3.2.1, 3.5).
 *
 * The image holds what drivers look at: MAC address, part number, device capabilities, firmware version, and a
 * checksum over words 0x00-0x3E and the blocks that pointers 0x03-0x0E lead to (6.4.5.8).
 */
import type { RegisterFile } from '../device/register-file.js';

const WORD_COUNT = 8192;
/** EEC.EE_SIZE, bits 14:11: the part has 64 words times two to the power of this. */
const SIZE_CODE = 7;

const EEC = 0x10010;
const EEC_SK = 1 << 0;
const EEC_CS = 1 << 1;
const EEC_DI = 1 << 2;
const EEC_DO = 1 << 3;
const EEC_FWE = 3 << 4;
const EEC_REQ = 1 << 6;
const EEC_GNT = 1 << 7;
const EEC_PRES = 1 << 8;
const EEC_AUTO_RD = 1 << 9;
const EEC_ADDR_SIZE = 1 << 10;
const EEC_FLUPD = 1 << 23;
const EEC_FLUDONE = 1 << 26;

const EERD = 0x10014;
const EERD_START = 1 << 0;
const EERD_DONE = 1 << 1;

const CHECKSUM_WORD = 0x3f;
const CHECKSUM_TOTAL = 0xbaba;
const FIRST_POINTER = 0x03;
const LAST_POINTER = 0x0e;

const LAN_CORE_0_POINTER = 0x09;
const LAN_CORE_0 = 0x80;
const FIRMWARE_POINTER = 0x0f;
const FIRMWARE = 0x100;
const PATCH_CONFIGURATION = 0x120;
const SFP_LIST_POINTER = 0x2b;
const SFP_LIST = 0x140;
const SFP_SEQUENCE = 0x160;
const SFP_LIST_END = 0xffff;
/** Kinds of module that drivers number so: direct attach, SR or LR, active cable; for port 0 and for port 1 of a card. */
const SFP_KINDS = [0, 3, 4, 5, 6, 7, 8];
const DEVICE_CAPABILITIES = 0x2c;
/** Any SFP module may be used; link state does not depend on the module being seen (bit 7). */
const CAPABILITIES = 0x0081;

/** Word image for a port with this MAC address, checksum included. */
export function buildEeprom(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(WORD_COUNT).fill(0xffff);
  words[0x00] = 0x0140;
  words[LAN_CORE_0_POINTER] = LAN_CORE_0;
  words[LAN_CORE_0] = 4;
  for (let i = 0; i < 3; i++) words[LAN_CORE_0 + 1 + i] = mac[i * 2]! | (mac[i * 2 + 1]! << 8);
  words[LAN_CORE_0 + 4] = 0;
  // Part number, old form: two words of digits (6.2.11).
  words[0x15] = 0xe665;
  words[0x16] = 0x3002;
  words[0x26] = 0;
  words[DEVICE_CAPABILITIES] = CAPABILITIES;
  // NVM version words that drivers print.
  words[0x18] = 0x2000;
  words[0x2d] = 0x0208;
  words[0x2e] = 0x8000;
  // Fibre ports want firmware 0.6 or newer: firmware block, word 4: patch configuration, word 7: version.
  words[FIRMWARE_POINTER] = FIRMWARE;
  words[FIRMWARE + 4] = PATCH_CONFIGURATION;
  words[PATCH_CONFIGURATION + 7] = 0x0009;
  // What to write to CORECTL for each kind of module: a size word, pairs of kind and where its values are, an end mark.
  words[SFP_LIST_POINTER] = SFP_LIST;
  words[SFP_LIST] = SFP_KINDS.length * 2;
  for (const [i, kind] of SFP_KINDS.entries()) words.set([kind, SFP_SEQUENCE], SFP_LIST + 1 + 2 * i);
  words[SFP_LIST + 1 + 2 * SFP_KINDS.length] = SFP_LIST_END;
  words.set([1, 0, SFP_LIST_END], SFP_SEQUENCE);
  words[CHECKSUM_WORD] = (CHECKSUM_TOTAL - eepromSum(words)) & 0xffff;
  return words;
}

/** Sum of the words the checksum covers, without the checksum itself. */
export function eepromSum(words: Uint16Array): number {
  let sum = 0;
  for (let i = 0; i < CHECKSUM_WORD; i++) sum += words[i]!;
  for (let pointer = FIRST_POINTER; pointer <= LAST_POINTER; pointer++) {
    const start = words[pointer]!;
    if (start === 0 || start >= words.length) continue;
    const length = words[start]!;
    if (length === 0 || start + length >= words.length) continue;
    for (let i = 1; i <= length; i++) sum += words[start + i]!;
  }
  return sum & 0xffff;
}

export class Eeprom {
  readonly words: Uint16Array;
  readonly #registers: RegisterFile;
  readonly #spi: SpiEeprom;

  constructor(registers: RegisterFile, mac: Uint8Array) {
    this.words = buildEeprom(mac);
    this.#registers = registers;
    this.#spi = new SpiEeprom(this.words);
    registers.hook(
      'EEC',
      () => this.#control(),
      (value) => this.#setControl(value),
    );
    registers.hook('EERD', undefined, (value) => this.#read(value));
    registers.hook('EEWR', undefined, (value) => this.#write(value));
    registers.hook('EEMNGCTL', () => registers.peek(0x10110) | (1 << 18), undefined);
    this.reset();
  }

  reset(): void {
    this.#registers.poke(EEC, EEC_PRES | EEC_AUTO_RD | EEC_ADDR_SIZE | (SIZE_CODE << 11) | (1 << 4));
    this.#spi.deselect();
  }

  #control(): number {
    return this.#registers.peek(EEC) | (this.#spi.output ? EEC_DO : 0);
  }

  #setControl(value: number): void {
    const fixed = this.#registers.peek(EEC) & (EEC_PRES | EEC_AUTO_RD | EEC_ADDR_SIZE | (0xf << 11));
    let next = fixed | (value & (EEC_SK | EEC_CS | EEC_DI | EEC_FWE | EEC_REQ));
    // Nobody competes for the part, so a request is granted at once.
    if ((value & EEC_REQ) !== 0) next |= EEC_GNT;
    if ((value & EEC_FLUPD) !== 0) next |= EEC_FLUDONE;
    this.#registers.poke(EEC, next);
    if ((next & EEC_GNT) !== 0)
      this.#spi.pins((value & EEC_CS) === 0, (value & EEC_SK) !== 0, (value & EEC_DI) !== 0);
    else this.#spi.deselect();
  }

  /** Word address in bits 15:2, data in bits 31:16. Takes no time here. */
  #read(value: number): void {
    if ((value & EERD_START) === 0) {
      this.#registers.poke(EERD, value & 0xfffc);
      return;
    }
    const address = (value >>> 2) & 0x3fff;
    const data = address < this.words.length ? this.words[address]! : 0;
    this.#registers.poke(EERD, (data << 16) | (address << 2) | EERD_DONE);
  }

  /** EEWR has EERD's layout with data to write (X540; the 82599 accepts it as well). */
  #write(value: number): void {
    const address = (value >>> 2) & 0x3fff;
    if ((value & EERD_START) !== 0 && address < this.words.length) this.words[address] = value >>> 16;
    this.#registers.poke(0x10018, (value & ~EERD_START) | EERD_DONE);
  }
}

const SPI_READ = 0x03;
const SPI_READ_STATUS = 0x05;
const COMMAND_BITS = 8;
const ADDRESS_BITS = 16;

/** A serial EEPROM with 16-bit byte addresses: input is taken and output changes at the rising edge of the clock. */
class SpiEeprom {
  /** Level of the data-out pin. */
  output = false;
  readonly #words: Uint16Array;
  #clock = false;
  #bitCount = 0;
  #shift = 0;
  #command = 0;
  #address = 0;

  constructor(words: Uint16Array) {
    this.#words = words;
  }

  deselect(): void {
    this.#bitCount = 0;
    this.#shift = 0;
    this.#command = 0;
    this.#address = 0;
    this.#clock = false;
    this.output = false;
  }

  /** `selected`: the chip-select pin is low. */
  pins(selected: boolean, clock: boolean, input: boolean): void {
    if (!selected) {
      this.deselect();
      this.#clock = clock;
      return;
    }
    const rising = clock && !this.#clock;
    this.#clock = clock;
    if (rising) this.#edge(input);
  }

  #edge(input: boolean): void {
    const bit = this.#bitCount++;
    if (bit < COMMAND_BITS) {
      this.#command = (this.#command << 1) | (input ? 1 : 0);
      return;
    }
    // A status of 0 says: not busy.
    if (this.#command === SPI_READ_STATUS) this.output = false;
    else if (this.#command === SPI_READ) this.#readEdge(bit - COMMAND_BITS, input);
  }

  #readEdge(bit: number, input: boolean): void {
    if (bit < ADDRESS_BITS) {
      this.#address = ((this.#address << 1) | (input ? 1 : 0)) & 0xffff;
      return;
    }
    const dataBit = bit - ADDRESS_BITS;
    const byteAddress = (this.#address + (dataBit >>> 3)) % (this.#words.length * 2);
    const word = this.#words[byteAddress >>> 1]!;
    const byte = (byteAddress & 1) === 0 ? word & 0xff : word >>> 8;
    this.#shift = byte;
    this.output = ((this.#shift >>> (7 - (dataBit & 7))) & 1) !== 0;
  }
}
