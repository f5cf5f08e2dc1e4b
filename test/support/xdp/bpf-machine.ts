/**
 * Runs programs of the kernel's virtual machine on frames, as far as XDP programs of ours need it. Stricter than the machine: a
 * load outside of the frame, an unknown instruction or a jump out of the program throws, as the verifier would refuse it.
 * Specification: Documentation/bpf/standardization/instruction-set.rst.
 */
const MASK_64 = (1n << 64n) - 1n;
const MASK_32 = (1n << 32n) - 1n;
const FRAME_AT = 0x1000;
const CONTEXT_AT = 0x10;
const MAX_STEPS = 20_000;

/** Comparisons of jumps, by the high bits of the opcode. */
const COMPARES: Readonly<Record<number, (a: bigint, b: bigint) => boolean>> = {
  16: (a, b) => a === b,
  32: (a, b) => a > b,
  80: (a, b) => a !== b,
  160: (a, b) => a < b,
};

/** What a program answered: its result, and what it gave to bpf_redirect_map. */
export interface Outcome {
  readonly result: number;
  readonly redirected:
    | { readonly mapFd: number; readonly key: number; readonly otherwise: number }
    | undefined;
}

/** @param queue in the context */
export function runProgram(code: Uint8Array, frame: Uint8Array, queue = 0): Outcome {
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  const r = new BigUint64Array(11);
  const context = new DataView(new ArrayBuffer(24));
  context.setUint32(0, FRAME_AT, true);
  context.setUint32(4, FRAME_AT + frame.length, true);
  context.setUint32(16, queue, true);
  r[1] = BigInt(CONTEXT_AT);
  let redirected: Outcome['redirected'];
  const load = (address: number, size: number): bigint => {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) {
      const inFrame = address + i - FRAME_AT;
      const inContext = address + i - CONTEXT_AT;
      let byte: number | undefined;
      if (inFrame >= 0 && inFrame < frame.length) byte = frame[inFrame];
      else if (inContext >= 0 && inContext < context.byteLength) byte = context.getUint8(inContext);
      if (byte === undefined) throw new Error(`load outside of the frame, at ${address + i - FRAME_AT}`);
      value = (value << 8n) | BigInt(byte);
    }
    return value;
  };
  let at = 0;
  for (let step = 0; step < MAX_STEPS; step++) {
    if (at < 0 || at >= code.length / 8) throw new Error(`instruction ${at} is outside of the program`);
    const op = view.getUint8(8 * at);
    const to = view.getUint8(8 * at + 1) & 15;
    const from = view.getUint8(8 * at + 1) >> 4;
    const offset = view.getInt16(8 * at + 2, true);
    const immediate = view.getInt32(8 * at + 4, true);
    const wide = BigInt(immediate) & MASK_64;
    at++;
    switch (op) {
      case 0x61:
      case 0x69:
      case 0x71:
        r[to] = load(Number(r[from]) + offset, op === 0x61 ? 4 : op === 0x69 ? 2 : 1);
        break;
      case 0x18:
        r[to] = BigInt(immediate >>> 0) | (BigInt(view.getUint32(8 * at + 4, true)) << 32n);
        at++;
        break;
      case 0xbf:
        r[to] = r[from]!;
        break;
      case 0xb7:
        r[to] = wide;
        break;
      case 0x0f:
        r[to] = (r[to]! + r[from]!) & MASK_64;
        break;
      case 0x07:
        r[to] = (r[to]! + wide) & MASK_64;
        break;
      case 0x57:
        r[to] = r[to]! & wide;
        break;
      case 0x54:
        r[to] = r[to]! & wide & MASK_32;
        break;
      case 0x67:
        r[to] = (r[to]! << wide) & MASK_64;
        break;
      case 0xdc:
        if (immediate !== 16) throw new Error(`${immediate} bits are turned`);
        r[to] = ((r[to]! & 0xffn) << 8n) | ((r[to]! >> 8n) & 0xffn);
        break;
      case 0x85:
        if (immediate !== 51) throw new Error(`helper ${immediate}`);
        redirected = { mapFd: Number(r[1]), key: Number(r[2]), otherwise: Number(r[3]) };
        r[0] = 4n;
        break;
      case 0x95:
        return { result: Number(r[0]), redirected };
      case 0x05:
        at += offset;
        break;
      default: {
        const compare = COMPARES[op & 0xf0];
        const isJump = (op & 7) === 5;
        if (compare === undefined || !(isJump || (op & 7) === 6))
          throw new Error(`opcode 0x${op.toString(16)}`);
        const mask = isJump ? MASK_64 : MASK_32;
        const right = (op & 8) === 0 ? wide : r[from]!;
        if (compare(r[to]! & mask, right & mask)) at += offset;
      }
    }
  }
  throw new Error(`no end after ${MAX_STEPS} steps`);
}
