/**
 * Receive side scaling (7.1.2.8): the Toeplitz hash over addresses and ports, and the redirection table.
 *
 * The hash is linear, so for each input byte its contribution is looked up: 36 positions times 256 values, rebuilt
 * when the key changes. A TCP/IPv4 packet costs 12 loads.
 */

import type { RegisterFile } from '../device/register-file.js';
import { type FrameParser, TYPE } from './parser.js';
import { MRQC, RETA, RSSRK } from './registers.js';

/** MRQC.RSS field enable bits (8.2.3.7.12). */
const TCP_IPV4 = 1 << 16;
const IPV4 = 1 << 17;
const IPV6 = 1 << 20;
const TCP_IPV6 = 1 << 21;
const UDP_IPV4 = 1 << 22;
const UDP_IPV6 = 1 << 23;

/** RSS type of a written-back descriptor (7.1.6.2). */
const RSS_TYPE = { NONE: 0, TCP_IPV4: 1, IPV4: 2, TCP_IPV6: 3, IPV6: 5, UDP_IPV4: 7, UDP_IPV6: 8 } as const;

const KEY_BYTES = 40;
const INPUT_BYTES = 36;
const MRQE_NONE = 0;
const MRQE_RSS = 1;

export class Rss {
  /** Hash of the last frame, signed. */
  hash = 0;
  /** RSS type of the last frame; 0 where no hash was computed. */
  type = 0;
  enabled = false;

  readonly #table = new Int32Array(INPUT_BYTES * 256);
  readonly #queues = new Uint8Array(128);
  readonly #registers: RegisterFile;
  readonly #unsupported: (mode: number) => void;
  #fields = 0;
  #keyChanged = true;

  /** @param unsupported called when a multiple-queue mode other than RSS is chosen */
  constructor(registers: RegisterFile, unsupported: (mode: number) => void) {
    this.#registers = registers;
    this.#unsupported = unsupported;
    // All three also lie where the 82598 had them: 0x5818, 0x5C80, 0x5C00.
    const storage = (offset: number) => (index: number) => registers.peek(offset + index * 4);
    registers.hook('MRQC', storage(MRQC), (value) => this.#configure(value));
    registers.hook('RSSRK', storage(RSSRK), (value, index) => {
      registers.poke(RSSRK + index * 4, value);
      this.#keyChanged = true;
    });
    registers.hook('RETA', storage(RETA), (value, index) => {
      registers.poke(RETA + index * 4, value);
      for (let n = 0; n < 4; n++) this.#queues[index * 4 + n] = (value >>> (n * 8)) & 0xf;
    });
  }

  reset(): void {
    this.#queues.fill(0);
    this.enabled = false;
    this.hash = 0;
    this.type = RSS_TYPE.NONE;
    this.#fields = 0;
    this.#keyChanged = true;
  }

  #configure(value: number): void {
    this.#registers.poke(MRQC, value);
    const mode = value & 0xf;
    this.enabled = mode === MRQE_RSS;
    this.#fields = value;
    this.hash = 0;
    this.type = RSS_TYPE.NONE;
    if (mode !== MRQE_NONE && mode !== MRQE_RSS) this.#unsupported(mode);
  }

  /** Queue for the frame that `parsed` describes; sets `hash` and `type`. */
  queueFor(parsed: FrameParser, bytes: Uint8Array, offset: number): number {
    if (this.#keyChanged) this.#buildTable();
    this.#chooseType(parsed);
    if (this.type === RSS_TYPE.NONE) {
      this.hash = 0;
      return this.#queues[0]!;
    }
    const withPorts = this.type !== RSS_TYPE.IPV4 && this.type !== RSS_TYPE.IPV6;
    const l3 = offset + parsed.l3;
    let hash = parsed.isIpv6 ? this.#mix(bytes, l3 + 8, 32, 0, 0) : this.#mix(bytes, l3 + 12, 8, 0, 0);
    if (withPorts) hash = this.#mix(bytes, offset + parsed.l4, 4, parsed.isIpv6 ? 32 : 8, hash);
    this.hash = hash;
    return this.#queues[hash & 0x7f]!;
  }

  #chooseType(parsed: FrameParser): void {
    const fields = this.#fields;
    const type = parsed.type;
    const hasPorts = parsed.l4 >= 0;
    this.type = RSS_TYPE.NONE;
    if ((type & TYPE.IPV4) !== 0) {
      if (hasPorts && (type & TYPE.TCP) !== 0 && (fields & TCP_IPV4) !== 0) this.type = RSS_TYPE.TCP_IPV4;
      else if (hasPorts && (type & TYPE.UDP) !== 0 && (fields & UDP_IPV4) !== 0)
        this.type = RSS_TYPE.UDP_IPV4;
      else if ((fields & IPV4) !== 0) this.type = RSS_TYPE.IPV4;
    } else if ((type & TYPE.IPV6) !== 0) {
      if (hasPorts && (type & TYPE.TCP) !== 0 && (fields & TCP_IPV6) !== 0) this.type = RSS_TYPE.TCP_IPV6;
      else if (hasPorts && (type & TYPE.UDP) !== 0 && (fields & UDP_IPV6) !== 0)
        this.type = RSS_TYPE.UDP_IPV6;
      else if ((fields & IPV6) !== 0) this.type = RSS_TYPE.IPV6;
    }
  }

  #mix(bytes: Uint8Array, at: number, count: number, position: number, start: number): number {
    const table = this.#table;
    let hash = start;
    for (let i = 0; i < count; i++) hash ^= table[(position + i) * 256 + bytes[at + i]!]!;
    return hash;
  }

  #buildTable(): void {
    this.#keyChanged = false;
    const key = new Uint8Array(KEY_BYTES);
    for (let i = 0; i < KEY_BYTES; i++) key[i] = this.#registers.peek(RSSRK + (i & ~3)) >>> ((i & 3) * 8);
    toeplitzTable(key, this.#table);
  }
}

/**
 * Fills the contribution of each value of each input byte. Bit b of input byte p (from the most significant) adds
 * the 32 key bits that start at bit 8 p + b.
 */
function toeplitzTable(key: Uint8Array, table: Int32Array): void {
  const windows = new Int32Array(8);
  for (let position = 0; position < INPUT_BYTES; position++) {
    const high =
      (key[position]! << 24) | (key[position + 1]! << 16) | (key[position + 2]! << 8) | key[position + 3]!;
    const low = key[position + 4] ?? 0;
    for (let bit = 0; bit < 8; bit++) windows[bit] = bit === 0 ? high : (high << bit) | (low >>> (8 - bit));
    for (let value = 0; value < 256; value++) {
      let sum = 0;
      for (let bit = 0; bit < 8; bit++) if ((value & (0x80 >>> bit)) !== 0) sum ^= windows[bit]!;
      table[position * 256 + value] = sum;
    }
  }
}
