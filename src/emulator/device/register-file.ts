/**
 * Storage and access rules of the registers behind one BAR. A register is a word of the BAR's memory with an access
 * mode; those that do more than that have a hook. Where the client may map parts of the BAR, the memory is a sealed file,
 * and words of the mapped pages change without any call.
 */
import { createSharedMemory, type SharedMemory } from '../../vfio/user/memory.js';
import type { ServedArea } from '../../vfio/user/served-device.js';
import type { BarContent } from './pci-function.js';
import { indexIn, type RegisterTable } from './register-table.js';
import type { Violations } from './violations.js';

/** Gives the value of a register; `index` counts within the block, from `firstIndex`. May change state. */
export type ReadHook = (index: number) => number;
/** Takes a write, after reserved bits were removed. `value` is a signed 32-bit integer. */
export type WriteHook = (value: number, index: number) => void;

export class RegisterFile implements BarContent {
  /** The BAR, one entry a register. Look it up at each use: `close` replaces it. */
  words: Int32Array;
  readonly sizeBytes: number;
  /** The memory file, where parts of the BAR can be mapped by the client. */
  readonly fd: number | undefined;
  readonly areas: readonly ServedArea[];
  /** Called after each write by the client. */
  onWritten: (() => void) | undefined;
  readonly #table: RegisterTable;
  readonly #memory: SharedMemory | undefined;
  readonly #violations: Violations;
  readonly #readHooks: (ReadHook | undefined)[];
  readonly #writeHooks: (WriteHook | undefined)[];
  readonly #reportedOffsets = new Set<number>();

  /** @param areas what the client may map; nothing where it is to trap at every access */
  constructor(table: RegisterTable, areas: readonly ServedArea[], violations: Violations) {
    this.#table = table;
    this.#violations = violations;
    this.sizeBytes = table.options.sizeBytes;
    this.areas = areas;
    this.#readHooks = new Array(table.blocks.length + 1).fill(undefined);
    this.#writeHooks = new Array(table.blocks.length + 1).fill(undefined);
    this.#memory = areas.length === 0 ? undefined : createSharedMemory('barewire-bar', this.sizeBytes);
    this.fd = this.#memory?.fd;
    this.words = new Int32Array(this.#memory?.buffer ?? new ArrayBuffer(this.sizeBytes));
    this.reset(true);
  }

  close(): void {
    if (this.#memory === undefined) return;
    // Late accesses go to private memory, not to an address that is gone.
    this.words = new Int32Array(this.words);
    this.#memory.close();
  }

  /** Gives each register its reset value. Sticky ones keep theirs unless `all`. */
  reset(all: boolean): void {
    for (const block of this.#table.blocks) {
      if (block.sticky && !all) continue;
      for (let n = 0; n < block.count; n++) {
        this.words[(block.offset + n * block.strideBytes) >>> 2] = block.reset;
      }
    }
  }

  /** Attaches behaviour to all blocks of this name. */
  hook(name: string, onRead: ReadHook | undefined, onWrite: WriteHook | undefined): void {
    let found = false;
    this.#table.blocks.forEach((block, i) => {
      if (block.name !== name) return;
      found = true;
      this.#readHooks[i + 1] = onRead;
      this.#writeHooks[i + 1] = onWrite;
    });
    if (!found) throw new Error(`no register ${name}`);
  }

  /** Word at a byte offset, as the model sees it: no side effects. Signed. */
  peek(offset: number): number {
    return this.words[offset >>> 2]!;
  }

  poke(offset: number, value: number): void {
    this.words[offset >>> 2] = value;
  }

  read(offset: number, into: Uint8Array): void {
    if (isOfWords(offset, into.length)) {
      for (let at = 0; at < into.length; at += 4) {
        const value = this.#read(offset + at);
        for (let i = 0; i < 4; i++) into[at + i] = value >>> (8 * i);
      }
      return;
    }
    // Other sizes show what is stored, without side effects: nothing is cleared by half.
    this.#reportSize(offset, into.length);
    for (let i = 0; i < into.length; i++) into[i] = this.peek(offset + i) >>> (8 * ((offset + i) & 3));
  }

  write(offset: number, from: Uint8Array): void {
    if (!isOfWords(offset, from.length)) {
      this.#reportSize(offset, from.length);
      return;
    }
    for (let at = 0; at < from.length; at += 4) {
      const value = from[at]! | (from[at + 1]! << 8) | (from[at + 2]! << 16) | (from[at + 3]! << 24);
      this.#write(offset + at, value);
    }
    this.onWritten?.();
  }

  /** A 32-bit read by the client, with side effects. Signed. */
  #read(offset: number): number {
    const id = this.#table.blockNumberAt(offset);
    if (id === 0) {
      this.#reportUnimplemented(offset, 'read');
      return 0;
    }
    const block = this.#table.blocks[id - 1]!;
    const hook = this.#readHooks[id];
    if (hook !== undefined) return hook(indexIn(block, offset));
    if (block.access === 'WO') return 0;
    const value = this.words[offset >>> 2]!;
    if (block.access === 'RC') this.words[offset >>> 2] = 0;
    return value;
  }

  /** A 32-bit write by the client. */
  #write(offset: number, value: number): void {
    const id = this.#table.blockNumberAt(offset);
    if (id === 0) {
      this.#reportUnimplemented(offset, 'written');
      return;
    }
    const block = this.#table.blocks[id - 1]!;
    if (block.access === 'RO' || block.access === 'RC') {
      this.#violations.report(this.#table.nameAt(offset), block.section, 'a read-only register was written');
      return;
    }
    if ((value & block.reserved) !== 0) {
      const bits = ((value & block.reserved) >>> 0).toString(16);
      this.#violations.report(
        this.#table.nameAt(offset),
        block.section,
        `reserved bits 0x${bits} were written as 1`,
      );
    }
    const accepted = value & ~block.reserved;
    const hook = this.#writeHooks[id];
    if (hook !== undefined) {
      hook(accepted, indexIn(block, offset));
      return;
    }
    const word = offset >>> 2;
    if (block.access === 'W1C') this.words[word]! &= ~accepted;
    else if (block.access === 'RW1S') this.words[word]! |= accepted;
    else if (block.access === 'RW') this.words[word] = accepted;
  }

  #reportSize(offset: number, sizeBytes: number): void {
    const text = `access of ${sizeBytes} bytes; registers are 32 bits`;
    this.#violations.report(this.#table.nameAt(offset), this.#table.options.accessSection, text);
  }

  #reportUnimplemented(offset: number, what: string): void {
    const key = offset & ~3;
    if (this.#reportedOffsets.has(key)) return;
    this.#reportedOffsets.add(key);
    this.#violations.report(
      this.#table.nameAt(key),
      this.#table.options.listSection,
      `no register there, or one that is not emulated, was ${what}`,
    );
  }
}

/** One register or two neighbours. */
function isOfWords(offset: number, sizeBytes: number): boolean {
  return offset % 4 === 0 && (sizeBytes === 4 || sizeBytes === 8);
}
