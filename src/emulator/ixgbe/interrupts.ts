/**
 * Interrupt causes, masks, moderation and delivery (7.3, 8.2.3.5).
 *
 * With GPIE.Multiple_MSIX each queue has a vector of its own (IVAR) and the other causes share one (IVAR_MISC).
 * Without it everything is one interrupt: MSI vector 0, MSI-X vector 0 or INTx, whichever the client connected.
 * Causes gather while frames move and are delivered by `flush`, once a burst.
 */

import type { Clock } from '../../clock.js';
import { PciIrq } from '../../vfio/types.js';
import type { DeviceHost } from '../../vfio/user/served-device.js';
import type { RegisterFile } from '../device/register-file.js';
import { GPIE, IVAR, IVAR_MISC } from './registers.js';

/** Causes above the queues' bits 15:0 of EICR. */
export const CAUSE = {
  RX_MISS: 1 << 17,
  PCI: 1 << 18,
  LSC: 1 << 20,
  ECC: 1 << 28,
  TCP_TIMER: 1 << 30,
} as const;

const GPIE_MULTIPLE_MSIX = 1 << 4;
const GPIE_OCD = 1 << 5;
const GPIE_EIAME = 1 << 30;
const IVAR_VALID = 0x80;
const OTHER_BITS = 0x7fff0000;
const QUEUE_BITS = 0xffff;
export const VECTOR_COUNT = 64;
/** EITR.ITR_INT_INTERVAL, bits 11:3, counts 2 us units at 10 Gbit/s (8.2.3.5.12). */
const ITR_UNIT_NS = 2000;
const NO_VECTOR = -1;

export class Interrupts {
  /** Cause bit of each receive and transmit queue from IVAR, -1 where none is allocated. */
  readonly rxVector = new Int8Array(128).fill(NO_VECTOR);
  readonly txVector = new Int8Array(128).fill(NO_VECTOR);
  /** Whether the PCI command register allows INTx and message-signalled interrupts. */
  intxEnabled = true;
  busMaster = false;
  /** Interrupts delivered, for tests and reports. */
  raised = 0;

  readonly #registers: RegisterFile;
  readonly #clock: Clock;
  #host: DeviceHost | undefined;
  // Vectors 0-31 and 32-63; the low 16 bits of the first are EICR's.
  readonly #causes = new Int32Array(2);
  readonly #masks = new Int32Array(2);
  #other = 0;
  #otherMask = 0;
  // What happened since the last flush, and what moderation holds back.
  readonly #fresh = new Int32Array(2);
  #freshOther = 0;
  readonly #delayed = new Int32Array(2);
  #anyFresh = false;
  #anyDelayed = false;
  readonly #intervalNs = new Float64Array(VECTOR_COUNT);
  readonly #nextAllowedNs = new Float64Array(VECTOR_COUNT);

  constructor(registers: RegisterFile, clock: Clock) {
    this.#registers = registers;
    this.#clock = clock;
    registers.hook(
      'EICR',
      () => this.#readCauses(),
      (value) => this.#clearCauses(value),
    );
    registers.hook('EICS', undefined, (value) => this.#set(value & QUEUE_BITS, 0, value & OTHER_BITS));
    registers.hook('EICS_EX', undefined, (value, index) =>
      this.#set(index === 0 ? value : 0, index === 1 ? value : 0, 0),
    );
    registers.hook(
      'EIMS',
      () => this.#readMask(),
      (value) => this.#unmask(value & QUEUE_BITS, 0, value & OTHER_BITS),
    );
    registers.hook('EIMC', undefined, (value) => this.#mask(value & QUEUE_BITS, 0, value & OTHER_BITS));
    registers.hook(
      'EIMS_EX',
      (index) => this.#masks[index]!,
      (value, index) => this.#unmask(index === 0 ? value : 0, index === 1 ? value : 0, 0),
    );
    registers.hook('EIMC_EX', undefined, (value, index) =>
      this.#mask(index === 0 ? value : 0, index === 1 ? value : 0, 0),
    );
    registers.hook('EITR', undefined, (value, index) => this.#setInterval(value, index));
    registers.hook('IVAR', undefined, (value, index) => this.#allocate(value, index));
  }

  setHost(host: DeviceHost | undefined): void {
    this.#host = host;
  }

  reset(): void {
    this.rxVector.fill(NO_VECTOR);
    this.txVector.fill(NO_VECTOR);
    for (const words of [this.#causes, this.#masks, this.#fresh, this.#delayed]) words.fill(0);
    this.#other = 0;
    this.#otherMask = 0;
    this.#freshOther = 0;
    this.#anyFresh = false;
    this.#anyDelayed = false;
    this.#intervalNs.fill(0);
    this.#nextAllowedNs.fill(0);
  }

  /**
   * True where the driver has unmasked the interrupts of all its receive queues, as one does that sleeps until a packet
   * comes, and none is held back by moderation.
   */
  get awaited(): boolean {
    if (this.#anyFresh || this.#anyDelayed || !this.#multipleMsix()) return false;
    let vectors = 0;
    for (const vector of this.rxVector) {
      if (vector < 0) continue;
      if ((this.#masks[vector >>> 5]! & (1 << (vector & 31))) === 0) return false;
      vectors++;
    }
    return vectors > 0;
  }

  /** A queue's cause happened; `vector` from `rxVector` or `txVector`, below 0 is nobody's. */
  queueCause(vector: number): void {
    if (vector < 0) return;
    this.#fresh[vector >>> 5]! |= 1 << (vector & 31);
    this.#anyFresh = true;
  }

  otherCause(bits: number): void {
    this.#freshOther |= bits;
    this.#anyFresh = true;
  }

  /** Delivers what is due. Cheap where nothing happened. */
  flush(): void {
    if (this.#anyFresh) this.#deliverFresh();
    if (this.#anyDelayed) this.#deliverDelayed();
  }

  #multipleMsix(): boolean {
    return (this.#registers.peek(GPIE) & GPIE_MULTIPLE_MSIX) !== 0;
  }

  #deliverFresh(): void {
    this.#anyFresh = false;
    const low = this.#fresh[0]!;
    const high = this.#fresh[1]!;
    const other = this.#freshOther;
    this.#fresh[0] = 0;
    this.#fresh[1] = 0;
    this.#freshOther = 0;
    this.#causes[0]! |= low;
    this.#causes[1]! |= high;
    this.#other |= other;
    this.#request(low & this.#masks[0]!, high & this.#masks[1]!, other & this.#otherMask);
  }

  /** Asks for delivery of unmasked causes, now or when moderation allows. */
  #request(low: number, high: number, other: number): void {
    if ((low | high | other) === 0) return;
    if (!this.#multipleMsix()) {
      this.#due(0);
      return;
    }
    this.#requestVectors(low, 0);
    this.#requestVectors(high, 32);
    if (other !== 0) {
      const allocation = (this.#registers.peek(IVAR_MISC) >>> 8) & 0xff;
      if ((allocation & IVAR_VALID) !== 0) this.#due(allocation & 0x3f);
    }
  }

  #requestVectors(bits: number, first: number): void {
    for (let left = bits; left !== 0; left &= left - 1) this.#due(first + 31 - Math.clz32(left & -left));
  }

  #due(vector: number): void {
    const intervalNs = this.#intervalNs[vector]!;
    if (intervalNs > 0) {
      const nowNs = this.#clock.nowNs();
      if (nowNs < this.#nextAllowedNs[vector]!) {
        this.#delayed[vector >>> 5]! |= 1 << (vector & 31);
        this.#anyDelayed = true;
        return;
      }
      this.#nextAllowedNs[vector] = nowNs + intervalNs;
    }
    this.#raise(vector);
  }

  #deliverDelayed(): void {
    const nowNs = this.#clock.nowNs();
    this.#anyDelayed = false;
    for (let word = 0; word < 2; word++) {
      for (let left = this.#delayed[word]!; left !== 0; left &= left - 1) {
        const bit = 31 - Math.clz32(left & -left);
        const vector = word * 32 + bit;
        if (nowNs < this.#nextAllowedNs[vector]!) {
          this.#anyDelayed = true;
          continue;
        }
        this.#delayed[word]! &= ~(1 << bit);
        this.#nextAllowedNs[vector] = nowNs + this.#intervalNs[vector]!;
        this.#raise(vector);
      }
    }
  }

  #raise(vector: number): void {
    const host = this.#host;
    if (host === undefined) return;
    this.raised++;
    if (!this.#multipleMsix()) {
      // The client connected at most one of the three kinds; the others do nothing.
      if (this.intxEnabled) host.raiseInterrupt(PciIrq.INTX, 0);
      if (!this.busMaster) return;
      host.raiseInterrupt(PciIrq.MSI, 0);
      host.raiseInterrupt(PciIrq.MSIX, 0);
      return;
    }
    if (!this.busMaster) return;
    this.#autoClearAndMask(vector);
    host.raiseInterrupt(PciIrq.MSIX, vector);
  }

  /** EIAC clears and (with GPIE.EIAME) EIAM masks the vector's causes as its message is sent (7.3.1.5). */
  #autoClearAndMask(vector: number): void {
    const word = vector >>> 5;
    const bit = 1 << (vector & 31);
    const eiac = this.#registers.peek(0x810);
    // Vectors 16-63 have no bit in EICR, so they always clear themselves.
    if (vector >= 16 || (eiac & bit) !== 0) this.#causes[word]! &= ~bit;
    const allocation = (this.#registers.peek(IVAR_MISC) >>> 8) & 0xff;
    if (allocation === (IVAR_VALID | vector)) this.#other &= ~(eiac & OTHER_BITS);
    if ((this.#registers.peek(GPIE) & GPIE_EIAME) === 0) return;
    const eiam =
      this.#registers.peek(0xad0 + word * 4) | (word === 0 ? this.#registers.peek(0x890) & QUEUE_BITS : 0);
    if ((eiam & bit) !== 0) this.#masks[word]! &= ~bit;
  }

  #readCauses(): number {
    this.#absorb();
    const value = (this.#causes[0]! & QUEUE_BITS) | this.#other;
    const keepQueues = (this.#registers.peek(GPIE) & GPIE_OCD) !== 0;
    this.#clearCauses(keepQueues ? OTHER_BITS : -1);
    if (!this.#multipleMsix()) {
      // Legacy auto-mask: reading the causes masks those in EIAM.
      const eiam = this.#registers.peek(0x890);
      this.#masks[0]! &= ~(eiam & QUEUE_BITS & value);
      this.#otherMask &= ~(eiam & OTHER_BITS & value);
    }
    return value;
  }

  /** Causes of the burst under way belong to what a read now shows; their interrupt is due nevertheless. */
  #absorb(): void {
    if (this.#anyFresh) this.#deliverFresh();
  }

  #clearCauses(bits: number): void {
    this.#causes[0]! &= ~(bits & QUEUE_BITS);
    this.#other &= ~(bits & OTHER_BITS);
  }

  #set(low: number, high: number, other: number): void {
    this.#fresh[0]! |= low;
    this.#fresh[1]! |= high;
    this.#freshOther |= other;
    this.#deliverFresh();
  }

  #readMask(): number {
    return (this.#masks[0]! & QUEUE_BITS) | this.#otherMask;
  }

  #mask(low: number, high: number, other: number): void {
    this.#masks[0]! &= ~low;
    this.#masks[1]! &= ~high;
    this.#otherMask &= ~other;
  }

  #unmask(low: number, high: number, other: number): void {
    const newLow = low & ~this.#masks[0]!;
    const newHigh = high & ~this.#masks[1]!;
    const newOther = other & ~this.#otherMask;
    this.#masks[0]! |= low;
    this.#masks[1]! |= high;
    this.#otherMask |= other;
    // A cause that waited behind the mask is delivered now.
    this.#request(this.#causes[0]! & newLow, this.#causes[1]! & newHigh, this.#other & newOther);
  }

  #setInterval(value: number, vector: number): void {
    this.#registers.poke(vector < 24 ? 0x820 + vector * 4 : 0x12300 + (vector - 24) * 4, value & 0x7fffffff);
    if (vector >= VECTOR_COUNT) return;
    this.#intervalNs[vector] = ((value >>> 3) & 0x1ff) * ITR_UNIT_NS;
    this.#nextAllowedNs[vector] = 0;
  }

  #allocate(value: number, index: number): void {
    this.#registers.poke(IVAR + index * 4, value);
    const entry = (shift: number): number => {
      const allocation = (value >>> shift) & 0xff;
      return (allocation & IVAR_VALID) === 0 ? NO_VECTOR : allocation & 0x3f;
    };
    this.rxVector[index * 2] = entry(0);
    this.txVector[index * 2] = entry(8);
    this.rxVector[index * 2 + 1] = entry(16);
    this.txVector[index * 2 + 1] = entry(24);
  }
}
