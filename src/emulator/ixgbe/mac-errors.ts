/**
 * Frames of a wrong length, as the MAC finds them: too short, too long, or not as long as their own length field says. One
 * frame has one error, and the statistics count it once (8.2.3.23).
 */
import type { RegisterFile } from '../device/register-file.js';
import type { FrameParser } from './parser.js';
import { HLREG0, HLREG0_JUMBOEN, HLREG0_RXLNGTHERREN, MAXFRS } from './registers.js';
import { C } from './statistics.js';

const FCS_BYTES = 4;
export const MIN_OCTETS = 64;
/** Without HLREG0.JUMBOEN, whatever MAXFRS says (8.2.3.22.8). */
const STANDARD_MAX_OCTETS = 1518;
/** Largest frame that the hardware takes (7.1.1.4: 15.5 KiB). */
const LARGEST_OCTETS = 15872;
const VLAN_BYTES = 4;
/** A type or length field up to this is a length (IEEE 802.3, 3.2.6). */
const MAX_LENGTH_FIELD = 1500;
/** Shorter data is padded, so the length field may be less than what arrives. */
const MIN_DATA_BYTES = 46;

export class MacErrors {
  /** Longest frame without a VLAN tag, FCS included. */
  maxOctets = STANDARD_MAX_OCTETS;
  #checkLengthField = true;
  readonly #registers: RegisterFile;

  constructor(registers: RegisterFile) {
    this.#registers = registers;
  }

  /** Takes over HLREG0 and MAXFRS. */
  configure(): void {
    const control = this.#registers.peek(HLREG0);
    const jumbo = (control & HLREG0_JUMBOEN) !== 0;
    this.maxOctets = jumbo
      ? Math.min(this.#registers.peek(MAXFRS) >>> 16, LARGEST_OCTETS)
      : STANDARD_MAX_OCTETS;
    this.#checkLengthField = (control & HLREG0_RXLNGTHERREN) !== 0;
  }

  /**
   * Counter of what is wrong with a frame that was parsed and whose FCS is right; -1 where nothing is.
   * ASSUMED: RLEC counts wrong length fields only, not short and long frames as RLEC of the gigabit controllers does. The text
   * names RXLNGTHERREN as its switch, and drivers add RLEC, RUC and ROC.
   * ASSUMED: such frames are lost, as all are that have an error: the descriptor's bit LE is set with FCTRL.SBP only (7.1.6.2).
   */
  find(parser: FrameParser, lengthBytes: number): number {
    const octets = lengthBytes + FCS_BYTES;
    if (octets < MIN_OCTETS) return C.RUC;
    if (octets > this.maxOctets + (parser.vlanTag >= 0 ? VLAN_BYTES : 0)) return C.ROC;
    const field = parser.etherType;
    if (field > MAX_LENGTH_FIELD || !this.#checkLengthField) return -1;
    const dataBytes = lengthBytes - parser.dataAt;
    // 46 and not 42 with a tag: a frame of 64 octets has 42 bytes of data then, which is padding all the same.
    const wrong = field >= MIN_DATA_BYTES ? dataBytes !== field : dataBytes > MIN_DATA_BYTES;
    return wrong ? C.RLEC : -1;
  }

  /** Counts a frame whose FCS is wrong. CRCERRS has those of 64 octets and more, the long ones included. */
  countDamaged(counters: Float64Array, lengthBytes: number): void {
    const octets = lengthBytes + FCS_BYTES;
    if (octets < MIN_OCTETS) {
      counters[C.RFC]!++;
      return;
    }
    counters[C.CRCERRS]!++;
    // Without the frame's bytes a VLAN tag cannot be seen, so the four octets more are allowed to all.
    if (octets > this.maxOctets + VLAN_BYTES) counters[C.RJC]!++;
  }
}
