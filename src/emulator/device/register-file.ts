/**
 * Storage and access rules of the registers. A register is a word of BAR0's memory with an access mode; those that do
 * more than that have a hook. In mappable mode the memory is a sealed file that the client maps in part, so words of
 * the queue pages change without any call.
 */
import { closeSync, ftruncateSync } from 'node:fs';
import { NicError } from '../../errors.js';
import {
  addFileSeals,
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  MAP_SHARED,
  type Mapping,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  memfdCreate,
  mmap,
  munmap,
  PROT_READ,
  PROT_WRITE,
} from '../../syscalls/memory.js';
import { BAR0_SIZE_BYTES, REGISTERS, type RegisterBlock } from '../ixgbe/registers.js';
import type { Violations } from './violations.js';

/** Gives the value of a register; `index` counts within the block, from `firstIndex`. May change state. */
export type ReadHook = (index: number) => number;
/** Takes a write, after reserved bits were removed. `value` is a signed 32-bit integer. */
export type WriteHook = (value: number, index: number) => void;

const WORD_COUNT = BAR0_SIZE_BYTES / 4;

/** Block number of each word, 0 where the model has no register. Shared by all models. */
const blockOfWord = buildIndex();

function buildIndex(): Uint16Array {
  const index = new Uint16Array(WORD_COUNT);
  REGISTERS.forEach((block, i) => {
    for (let n = 0; n < block.count; n++) {
      const word = (block.offset + n * block.strideBytes) >>> 2;
      const other = index[word]!;
      if (other !== 0) throw new Error(`registers ${block.name} and ${REGISTERS[other - 1]!.name} overlap`);
      index[word] = i + 1;
    }
  });
  return index;
}

export class RegisterFile {
  /** BAR0, one entry a register. Look it up at each use: `close` replaces it. */
  words: Int32Array;
  /** The memory file, where parts of BAR0 can be mapped by the client. */
  readonly fd: number | undefined;
  readonly #mapping: Mapping | undefined;
  readonly #violations: Violations;
  readonly #readHooks: (ReadHook | undefined)[] = new Array(REGISTERS.length + 1).fill(undefined);
  readonly #writeHooks: (WriteHook | undefined)[] = new Array(REGISTERS.length + 1).fill(undefined);
  readonly #reportedOffsets = new Set<number>();

  constructor(mappable: boolean, violations: Violations) {
    this.#violations = violations;
    if (mappable) {
      this.fd = memfdCreate('barewire-bar0', MFD_CLOEXEC | MFD_ALLOW_SEALING);
      ftruncateSync(this.fd, BAR0_SIZE_BYTES);
      // The client cannot shrink the file under us: an access beyond its end would kill this process.
      if (!addFileSeals(this.fd, F_SEAL_SHRINK | F_SEAL_GROW)) {
        throw new NicError('NO_MEMORY', 'cannot seal the memory of BAR0');
      }
      this.#mapping = mmap(this.fd, BAR0_SIZE_BYTES, 0, PROT_READ | PROT_WRITE, MAP_SHARED);
      this.words = new Int32Array(this.#mapping.buffer);
    } else {
      this.fd = undefined;
      this.words = new Int32Array(WORD_COUNT);
    }
    this.reset(true);
  }

  close(): void {
    if (this.#mapping === undefined || this.fd === undefined) return;
    // Late accesses go to private memory, not to an address that is gone.
    this.words = new Int32Array(this.words);
    munmap(this.#mapping);
    closeSync(this.fd);
  }

  /** Gives each register its reset value. Sticky ones keep theirs unless `all`. */
  reset(all: boolean): void {
    for (const block of REGISTERS) {
      if (block.sticky && !all) continue;
      for (let n = 0; n < block.count; n++) {
        this.words[(block.offset + n * block.strideBytes) >>> 2] = block.reset;
      }
    }
  }

  /** Attaches behaviour to all blocks of this name. */
  hook(name: string, onRead: ReadHook | undefined, onWrite: WriteHook | undefined): void {
    let found = false;
    REGISTERS.forEach((block, i) => {
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

  /** A 32-bit read by the client, with side effects. Signed. */
  read(offset: number): number {
    const id = blockOfWord[offset >>> 2]!;
    if (id === 0) {
      this.#reportUnimplemented(offset, 'read');
      return 0;
    }
    const hook = this.#readHooks[id];
    if (hook !== undefined) return hook(indexIn(REGISTERS[id - 1]!, offset));
    const access = REGISTERS[id - 1]!.access;
    if (access === 'WO') return 0;
    const value = this.words[offset >>> 2]!;
    if (access === 'RC') this.words[offset >>> 2] = 0;
    return value;
  }

  /** A 32-bit write by the client. */
  write(offset: number, value: number): void {
    const id = blockOfWord[offset >>> 2]!;
    if (id === 0) {
      this.#reportUnimplemented(offset, 'written');
      return;
    }
    const block = REGISTERS[id - 1]!;
    if (block.access === 'RO' || block.access === 'RC') {
      this.#violations.report(this.nameAt(offset), block.section, 'a read-only register was written');
      return;
    }
    if ((value & block.reserved) !== 0) {
      const bits = ((value & block.reserved) >>> 0).toString(16);
      this.#violations.report(
        this.nameAt(offset),
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

  /** `RDT(5)`, or the offset where there is no register. */
  nameAt(offset: number): string {
    const id = blockOfWord[offset >>> 2]!;
    if (id === 0) return `offset 0x${offset.toString(16)}`;
    const block = REGISTERS[id - 1]!;
    return block.count === 1 ? block.name : `${block.name}(${indexIn(block, offset)})`;
  }

  #reportUnimplemented(offset: number, what: string): void {
    const key = offset & ~3;
    if (this.#reportedOffsets.has(key)) return;
    this.#reportedOffsets.add(key);
    this.#violations.report(
      this.nameAt(key),
      '8.2.2',
      `no register there, or one that is not emulated, was ${what}`,
    );
  }
}

function indexIn(block: RegisterBlock, offset: number): number {
  return block.firstIndex + Math.floor((offset - block.offset) / block.strideBytes);
}
