/**
 * Link flow control (3.7.7): pause frames of IEEE 802.3 annex 31B, as MFLCN.RFCE and FCCFG.TFCE allow. Priority flow
 * control (one pause a traffic class) is not emulated.
 *
 * Received pause frames stop the transmitter for so many quanta of 512 bit times. Sent ones tell the other end to wait while
 * the packet buffer, where frames wait whose queue has no descriptor and must not drop them, is fuller than FCRTH(0) says.
 */
import type { Clock } from '../../clock.js';
import type { RegisterFile } from '../device/register-file.js';
import { type FrameMemory, frameMemory, type Port } from '../link.js';
import { FCCFG, FCRTH, FCRTL, FCRTV, FCTTV, MFLCN, RAL } from './registers.js';
import { C } from './statistics.js';

const MFLCN_DPF = 1 << 1;
const MFLCN_RFCE = 1 << 3;
/** FCCFG.TFCE, bits 4:3: 1 is link flow control. */
const FCCFG_TFCE_SHIFT = 3;
const FCRTH_FCEN = 1 << 31;
const FCRTL_XONE = 1 << 31;
/** Watermarks count bytes in steps of 32, bits 18:5. */
const WATERMARK_MASK = 0x7ffe0;
const TFCS_TXOFF = 1 << 0;

/** 512 bit times at 10 Gbit/s. */
const QUANTUM_NS = 51.2;

const FRAME_BYTES = 60;
const FCS_BYTES = 4;
/** First four bytes of 01:80:C2:00:00:01 as a little-endian word, and the last two. */
const PAUSE_LOW = 0x00c28001;
const PAUSE_HIGH = 0x0100;
const HEADER_BYTES = 18;

export class FlowControl {
  readonly #registers: RegisterFile;
  readonly #counters: Float64Array;
  readonly #clock: Clock;
  readonly #frame = frameMemory(FRAME_BYTES);
  /** Called when a pause begins in the middle of the other end's burst: the burst under way here ends. */
  onPause: (() => void) | undefined;
  #out: Port | undefined;
  #obey = false;
  #discard = false;
  #send = false;
  #highBytes = 0;
  #lowBytes = 0;
  /** Until when the transmitter stands still; 0: it does not. */
  #pausedUntilNs = 0;
  /** The other end was told to wait, and when. */
  #stopped = false;
  #stoppedAtNs = 0;

  constructor(registers: RegisterFile, counters: Float64Array, clock: Clock) {
    this.#registers = registers;
    this.#counters = counters;
    this.#clock = clock;
    for (const [name, offset] of [
      ['MFLCN', MFLCN],
      ['FCCFG', FCCFG],
      ['FCRTH', FCRTH],
      ['FCRTL', FCRTL],
    ] as const) {
      registers.hook(name, undefined, (value, index) => {
        registers.poke(offset + 4 * index, value);
        this.#configure();
      });
    }
    registers.hook('TFCS', () => (this.paused() ? TFCS_TXOFF : 0), undefined);
  }

  #configure(): void {
    const peek = (offset: number): number => this.#registers.peek(offset);
    const control = peek(MFLCN);
    this.#obey = (control & MFLCN_RFCE) !== 0;
    this.#discard = (control & MFLCN_DPF) !== 0;
    if (!this.#obey) this.#pausedUntilNs = 0;
    const high = peek(FCRTH);
    this.#send = ((peek(FCCFG) >>> FCCFG_TFCE_SHIFT) & 3) === 1 && (high & FCRTH_FCEN) !== 0;
    this.#highBytes = high & WATERMARK_MASK;
    this.#lowBytes = peek(FCRTL) & WATERMARK_MASK;
  }

  reset(): void {
    this.#pausedUntilNs = 0;
    this.#stopped = false;
    this.#configure();
  }

  /** Where pause frames go. A link that was down forgets them. */
  setOut(out: Port | undefined): void {
    if (out === this.#out) return;
    this.#out = out;
    this.#pausedUntilNs = 0;
    this.#stopped = false;
  }

  /** Whether received pause frames stop the transmitter. */
  get obeys(): boolean {
    return this.#obey;
  }

  /** Whether the transmitter has to stand still. */
  paused(): boolean {
    if (this.#pausedUntilNs === 0) return false;
    if (this.#clock.nowNs() < this.#pausedUntilNs) return true;
    this.#pausedUntilNs = 0;
    return false;
  }

  /**
   * Looks at a frame that has arrived.
   * @returns true where it was a pause frame that goes no further; it is none of the good frames that are counted
   */
  takes(memory: FrameMemory, offset: number, lengthBytes: number): boolean {
    const bytes = memory.bytes;
    if (!this.#obey || bytes[offset + 12] !== 0x88 || bytes[offset + 13] !== 0x08) return false;
    if (lengthBytes < FRAME_BYTES || bytes[offset + 14] !== 0 || bytes[offset + 15] !== 1) return false;
    const low =
      bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24);
    const high = bytes[offset + 4]! | (bytes[offset + 5]! << 8);
    const toGroup = low === PAUSE_LOW && high === PAUSE_HIGH;
    const toStation = low === this.#registers.peek(RAL) && high === (this.#registers.peek(RAL + 4) & 0xffff);
    if (!toGroup && !toStation) return false;
    this.#pause((bytes[offset + 16]! << 8) | bytes[offset + 17]!);
    // MFLCN.DPF is about those to the station's own address: without it, they are received as well (8.2.3.22.34).
    return toGroup || this.#discard;
  }

  #pause(quanta: number): void {
    this.#counters[quanta === 0 ? C.LXONRXCNT : C.LXOFFRXCNT]!++;
    this.#pausedUntilNs = quanta === 0 ? 0 : this.#clock.nowNs() + quanta * QUANTUM_NS;
    if (quanta !== 0) this.onPause?.();
  }

  /** Tells the other end to wait or to go on, as the packet buffer's fill says. Cheap where nothing is to be told. */
  level(usedBytes: number): void {
    if (!this.#send) return;
    if (!this.#stopped) {
      if (usedBytes > this.#highBytes) this.#sendStop();
      return;
    }
    if (usedBytes <= this.#lowBytes) {
      this.#stopped = false;
      // Without XONE the other end's time runs out by itself.
      if ((this.#registers.peek(FCRTL) & FCRTL_XONE) !== 0) this.#emit(0, C.LXONTXC);
      return;
    }
    // Told again before its time is up: when no more than FCRTV is left of it.
    const left = this.#quanta() - (this.#registers.peek(FCRTV) & 0xffff);
    if (this.#clock.nowNs() - this.#stoppedAtNs >= Math.max(left, 0) * QUANTUM_NS) this.#sendStop();
  }

  /** FCTTV(0), bits 15:0: the time for traffic class 0 and for link flow control. */
  #quanta(): number {
    return this.#registers.peek(FCTTV) & 0xffff;
  }

  #sendStop(): void {
    this.#stopped = true;
    this.#stoppedAtNs = this.#clock.nowNs();
    this.#emit(this.#quanta(), C.LXOFFTXC);
  }

  #emit(quanta: number, counter: number): void {
    const out = this.#out;
    if (out === undefined) return;
    const { bytes, words } = this.#frame;
    words[0] = PAUSE_LOW;
    bytes[4] = PAUSE_HIGH & 0xff;
    bytes[5] = PAUSE_HIGH >>> 8;
    const low = this.#registers.peek(RAL);
    for (let i = 0; i < 4; i++) bytes[6 + i] = low >>> (8 * i);
    const high = this.#registers.peek(RAL + 4);
    bytes[10] = high;
    bytes[11] = high >>> 8;
    bytes.set([0x88, 0x08, 0x00, 0x01, quanta >>> 8, quanta & 0xff], 12);
    bytes.fill(0, HEADER_BYTES);
    // Drivers take pause frames out of these again, so hardware counts them in (8.2.3.23).
    const counters = this.#counters;
    counters[counter]!++;
    counters[C.GPTC]!++;
    counters[C.TPT]!++;
    counters[C.MPTC]!++;
    counters[C.PTC64]!++;
    counters[C.GOTC]! += FRAME_BYTES + FCS_BYTES;
    out.deliver(this.#frame, 0, FRAME_BYTES);
    out.flush();
  }
}
