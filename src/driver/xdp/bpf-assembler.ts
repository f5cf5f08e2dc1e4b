/**
 * Instructions of the kernel's virtual machine, with jumps to named places.
 * Specification: Documentation/bpf/standardization/instruction-set.rst.
 */

export const INSTRUCTION_BYTES = 8;

/** Opcodes: class, source and operation in one byte. */
export const Op = {
  /** `to = *(u8|u16|u32 *)(from + offset)`. */
  LOAD_BYTE: 0x71,
  LOAD_HALF: 0x69,
  LOAD_WORD: 0x61,
  /** Of two instructions: the second has the high half. */
  LOAD_IMMEDIATE_64: 0x18,
  MOVE: 0xbf,
  MOVE_IMMEDIATE: 0xb7,
  ADD: 0x0f,
  ADD_IMMEDIATE: 0x07,
  AND_IMMEDIATE: 0x57,
  /** The low 32 bits. */
  AND_IMMEDIATE_32: 0x54,
  SHIFT_LEFT: 0x67,
  /** From big-endian; the immediate is the number of bits. */
  FROM_BIG_ENDIAN: 0xdc,
  CALL: 0x85,
  EXIT: 0x95,
} as const;

/** Opcodes of jumps. */
export const Jump = {
  ALWAYS: 0x05,
  /** Comparison with a register, unsigned. */
  GREATER: 0x2d,
  /** Comparison with an immediate, unsigned. */
  EQUAL_IMMEDIATE: 0x15,
  NOT_EQUAL_IMMEDIATE: 0x55,
  GREATER_IMMEDIATE: 0x25,
  LESS_IMMEDIATE: 0xa5,
  /** The same of the low 32 bits. */
  NOT_EQUAL_IMMEDIATE_32: 0x56,
} as const;

/** Source register of LOAD_IMMEDIATE_64: the immediate is the descriptor of a map. */
export const PSEUDO_MAP_FD = 1;

/** A place in the program that jumps go to. Jumps go forward only: a label is marked behind all jumps to it. */
export interface Label {
  at: number;
  isUsed: boolean;
}

/** One instruction: opcode, destination and source register, offset, immediate. */
export function instruction(
  code: number,
  to: number,
  from: number,
  offset: number,
  immediate: number,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(INSTRUCTION_BYTES));
  view.setUint8(0, code);
  view.setUint8(1, (from << 4) | to);
  view.setInt16(2, offset, true);
  view.setInt32(4, immediate, true);
  return new Uint8Array(view.buffer);
}

/** Leaves out instructions that nothing leads to: the verifier refuses a program with such. */
export class Assembler {
  #reachable = true;
  readonly #code: Uint8Array[] = [];
  readonly #jumps: { readonly at: number; readonly to: Label }[] = [];

  emit(code: number, to = 0, from = 0, offset = 0, immediate = 0): void {
    if (!this.#reachable) return;
    this.#code.push(instruction(code, to, from, offset, immediate));
    if (code === Op.EXIT || code === Jump.ALWAYS) this.#reachable = false;
  }

  /** Jumps to a label where the comparison of `left` with `right` (register or immediate) holds. */
  jump(label: Label, code: number = Jump.ALWAYS, left = 0, right = 0): void {
    if (!this.#reachable) return;
    label.isUsed = true;
    this.#jumps.push({ at: this.#code.length, to: label });
    if (code === Jump.GREATER) this.emit(code, left, right);
    else this.emit(code, left, 0, 0, right);
  }

  /** The label is here. */
  mark(label: Label): void {
    label.at = this.#code.length;
    if (label.isUsed) this.#reachable = true;
  }

  /** The whole program, with its jumps. */
  bytes(): Uint8Array {
    for (const { at, to } of this.#jumps) {
      // Relative to the instruction behind the jump.
      new DataView(this.#code[at]!.buffer).setInt16(2, to.at - at - 1, true);
    }
    const bytes = new Uint8Array(this.#code.length * INSTRUCTION_BYTES);
    for (const [i, one] of this.#code.entries()) bytes.set(one, i * INSTRUCTION_BYTES);
    return bytes;
  }
}

export function label(): Label {
  return { at: 0, isUsed: false };
}
