/** The registers of a model as a table: where each lies, how it may be accessed, and what its datasheet says of it. */

/**
 * RW: reads back what was written. RO: writes are ignored. RC: cleared by reading. WO: reads 0.
 * W1C: writing 1 clears a bit. RW1S: writing 1 sets a bit.
 */
export type Access = 'RW' | 'RO' | 'RC' | 'WO' | 'W1C' | 'RW1S';

/** A register, or an array of them. */
export interface RegisterBlock {
  readonly name: string;
  /** Byte offset in the BAR of the first one. */
  readonly offset: number;
  readonly access: Access;
  /** Of the datasheet. */
  readonly section: string;
  readonly count: number;
  readonly strideBytes: number;
  /** Value after reset. */
  readonly reset: number;
  /** Bits that must be written as 0. */
  readonly reserved: number;
  /** First index, where one array lies at two places. */
  readonly firstIndex: number;
  /** Not cleared by a software reset: statistics, and what EEPROM and link own. */
  readonly sticky: boolean;
}

type Extra = Partial<Omit<RegisterBlock, 'name' | 'offset' | 'access' | 'section' | 'strideBytes'>> & {
  readonly stride?: number;
};

/** One register unless `extra.count` says how many; registers that are cleared by reading are sticky. */
export function block(
  name: string,
  offset: number,
  access: Access,
  section: string,
  { stride = 4, reserved = 0, ...extra }: Extra = {},
): RegisterBlock {
  const defaults = { count: 1, strideBytes: stride, reset: 0, firstIndex: 0, sticky: access === 'RC' };
  return { name, offset, access, section, ...defaults, reserved: reserved >>> 0, ...extra };
}

export interface RegisterTableOptions {
  /** Size of the BAR that the registers lie in. */
  readonly sizeBytes: number;
  /** Section of the datasheet that lists the registers, for accesses where there is none. */
  readonly listSection: string;
  /** Section that says registers are accessed as 32-bit words, for other accesses. */
  readonly accessSection: string;
}

/** Made once for all models of a family. */
export class RegisterTable {
  readonly blocks: readonly RegisterBlock[];
  readonly options: RegisterTableOptions;
  /** Block number plus one for each word, 0 where there is no register. */
  readonly #blockOfWord: Uint16Array;

  /** @throws Error where registers overlap: a mistake in the table */
  constructor(blocks: readonly RegisterBlock[], options: RegisterTableOptions) {
    this.blocks = blocks;
    this.options = options;
    this.#blockOfWord = new Uint16Array(options.sizeBytes / 4);
    for (const [i, block] of blocks.entries()) {
      for (let n = 0; n < block.count; n++) {
        const word = (block.offset + n * block.strideBytes) >>> 2;
        const other = this.#blockOfWord[word]!;
        if (other !== 0) throw new Error(`registers ${block.name} and ${blocks[other - 1]!.name} overlap`);
        this.#blockOfWord[word] = i + 1;
      }
    }
  }

  /** Number of the block at a byte offset, from 1 on; 0 where there is no register. */
  blockNumberAt(offset: number): number {
    return this.#blockOfWord[offset >>> 2]!;
  }

  /** `RDT(5)`, or the offset where there is no register. */
  nameAt(offset: number): string {
    const block = this.blocks[this.blockNumberAt(offset) - 1];
    if (block === undefined) return `offset 0x${offset.toString(16)}`;
    return block.count === 1 ? block.name : `${block.name}(${indexIn(block, offset)})`;
  }
}

/** Index of the register at `offset` within its block, from `firstIndex`. */
export function indexIn(block: RegisterBlock, offset: number): number {
  return block.firstIndex + Math.floor((offset - block.offset) / block.strideBytes);
}
