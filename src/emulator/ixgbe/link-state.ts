/**
 * Link configuration and state (8.2.3.22): AUTOC restarts, LINKS, auto-negotiation results. There is no negotiation:
 * the link is 10 Gbit/s when the partner is there, and changes raise LSC. The partner offers no pause frames; a driver may turn
 * them on all the same (flow-control.ts).
 */

import type { RegisterFile } from '../device/register-file.js';
import { CAUSE, type Interrupts } from './interrupts.js';
import { AUTOC, LINKS } from './registers.js';

const AUTOC_RESTART_AN = 1 << 12;
/** LMS, bits 15:13: 10 Gbit/s serial (SFI); KX4/KX/KR with auto-negotiation. */
const LMS_10G_SERIAL = 3 << 13;
const LMS_KX4_KX_KR = 4 << 13;
/** KX4 and KX supported (31:30), as EEPROMs of backplane cards have it. */
const AUTOC_KX4_KX = 0xc0000000;
/** 10G_PMA_PMD_Parallel KX4, 8:7; 1G KX, 9. */
const AUTOC_PARALLEL_KX4 = (1 << 7) | (1 << 9);
const AUTOC2 = 0x042a8;
/** 10G_PMA_PMD_Serial SFI, bits 17:16. */
const AUTOC2_SFI = 2 << 16;
const ANLP1 = 0x042b0;
/** Arbitration state of auto-negotiation, bits 19:16: not idle, so that a driver sees the restart happen. */
const ANLP1_STATE = 4 << 16;

const LINKS_UP = 1 << 30;
const LINKS_10G = 3 << 28;
const LINKS_AN_COMPLETE = 1 << 31;
const LINKS_ALIGNED = 1 << 17;
const LINKS_SIGNAL = 0xf << 8;
const ESDP = 0x00020;
/** SDP2: on SFP cards, module present (see sfp-module.ts). */
const ESDP_SDP2 = 1 << 2;

export type Media = 'sfp' | 'backplane' | 'copper';

export class LinkState {
  readonly #registers: RegisterFile;
  readonly #interrupts: Interrupts;
  readonly #media: Media;
  #carrier = false;

  constructor(registers: RegisterFile, interrupts: Interrupts, media: Media) {
    this.#registers = registers;
    this.#interrupts = interrupts;
    this.#media = media;
    registers.hook('AUTOC', undefined, (value) => this.#configure(value));
    registers.hook('PCS1GLSTA', () => (this.#carrier ? 0x00010011 : 0), undefined);
    this.reset();
  }

  get up(): boolean {
    return this.#carrier;
  }

  /** What the EEPROM loads. */
  reset(): void {
    const mode =
      this.#media === 'backplane' ? AUTOC_KX4_KX | LMS_KX4_KX_KR | AUTOC_PARALLEL_KX4 : LMS_10G_SERIAL;
    this.#registers.poke(AUTOC, mode);
    this.#registers.poke(AUTOC2, this.#media === 'sfp' ? AUTOC2_SFI : 0);
    this.#registers.poke(ANLP1, ANLP1_STATE);
    this.#registers.poke(ESDP, ESDP_SDP2);
    this.#show();
  }

  /** The other end of the cable came up or went down. */
  setCarrier(up: boolean): void {
    if (up === this.#carrier) return;
    this.#carrier = up;
    this.#show();
    this.#interrupts.otherCause(CAUSE.LSC);
    this.#interrupts.flush();
  }

  #show(): void {
    const up = LINKS_UP | LINKS_10G | LINKS_ALIGNED | LINKS_SIGNAL | LINKS_AN_COMPLETE;
    this.#registers.poke(LINKS, this.#carrier ? up : 0);
  }

  /** Restart_AN clears itself. The link does not bounce: hardware's takes longer than any driver waits for LSC. */
  #configure(value: number): void {
    this.#registers.poke(AUTOC, value & ~AUTOC_RESTART_AN);
    if ((value & AUTOC_RESTART_AN) !== 0 && this.#carrier) {
      this.#interrupts.otherCause(CAUSE.LSC);
      this.#interrupts.flush();
    }
  }
}
