/**
 * How the receive queues of an Intel family interrupt: the part of MSI-X that lies in the device's own registers. In all of
 * them an interrupt of MSI-X that fires masks itself, so that one arming gives one interrupt.
 */
import type { RegisterFile } from '../register-file.js';

/** What a driver does with the interrupts of its receive queues. */
export interface QueueInterrupts {
  /** Routes receive queue q to vector q. All are masked, and stay so. */
  readonly route: (registers: RegisterFile, queuePairs: number) => void;
  /** Unmasks one queue's interrupt. */
  readonly arm: (registers: RegisterFile, queue: number) => void;
  /** Masks it. */
  readonly disarm: (registers: RegisterFile, queue: number) => void;
  /** Writes what changes nothing: an emulator that rests hears it. Absent where no emulator of the family rests. */
  readonly announce?: (registers: RegisterFile) => void;
  /** Has at least so many microseconds pass between two interrupts of a queue. Absent where `limits` say so. */
  readonly throttle?: (registers: RegisterFile, queuePairs: number, intervalUs: number) => void;
}

/** One interrupt for all queues, for devices or machines that have no vector for each. */
export interface SharedInterrupt extends QueueInterrupts {
  /** Takes the interrupt back after it came: until then the device raises no other. */
  readonly acknowledge: (registers: RegisterFile) => void;
}

/** The mask of an interrupt that queues share: it is set when the last of those who sleep is awake. */
export class SharedMask {
  readonly #interrupt: SharedInterrupt;
  readonly #registers: RegisterFile;
  readonly #sleepers = new Set<number>();

  constructor(interrupt: SharedInterrupt, registers: RegisterFile) {
    this.#interrupt = interrupt;
    this.#registers = registers;
  }

  arm(queue: number): void {
    this.#sleepers.add(queue);
    this.#interrupt.arm(this.#registers, queue);
  }

  disarm(queue: number): void {
    this.#sleepers.delete(queue);
    if (this.#sleepers.size === 0) this.#interrupt.disarm(this.#registers, queue);
  }
}

/** Offsets and values of the extended interrupt registers (82576 datasheet 8.8, 82599 datasheet 8.2.3.5). */
export interface ExtendedInterruptRegisters {
  /** Interrupt mode, and the value for MSI-X with auto-mask. A virtual function has none. */
  readonly mode?: { readonly offset: number; readonly value: number };
  readonly eiac: number;
  readonly eiam: number;
  readonly eims: number;
  readonly eimc: number;
  readonly ivar: (queue: number) => number;
  readonly ivarRxShift: (queue: number) => number;
  /** Interrupt throttling of a vector: its register, and the value for so many microseconds. */
  readonly throttling?: { readonly eitr: (vector: number) => number; readonly value: (us: number) => number };
}

const IVAR_VALID = 1 << 7;
const IVAR_ENTRY_MASK = 0xff;

/** One bit a vector in EIMS, EIMC, EIAC and EIAM. The hardware acknowledges and masks when it fires. */
export function extendedInterrupts(reg: ExtendedInterruptRegisters): QueueInterrupts {
  const { throttling } = reg;
  return {
    route(registers, queuePairs) {
      const vectors = (1 << queuePairs) - 1;
      if (reg.mode !== undefined) registers.write(reg.mode.offset, reg.mode.value);
      registers.write(reg.eiac, vectors);
      registers.write(reg.eiam, vectors);
      for (let q = 0; q < queuePairs; q++) {
        const shift = reg.ivarRxShift(q);
        const others = registers.read(reg.ivar(q)) & ~(IVAR_ENTRY_MASK << shift);
        registers.write(reg.ivar(q), (others | ((q | IVAR_VALID) << shift)) >>> 0);
      }
    },
    arm: (registers, queue) => registers.write(reg.eims, 1 << queue),
    disarm: (registers, queue) => registers.write(reg.eimc, 1 << queue),
    // Unmasks nothing.
    announce: (registers) => registers.write(reg.eims, 0),
    ...(throttling && {
      throttle(registers, queuePairs, intervalUs) {
        for (let q = 0; q < queuePairs; q++)
          registers.write(throttling.eitr(q), throttling.value(intervalUs));
      },
    }),
  };
}
