/**
 * The client's memory as the server holds it: what DMA_MAP gave, mapped, sorted by IOVA. `find` is on the packet path of a device
 * model: no allocation but the first time a window is used.
 *
 * The client is not trusted: memory is mapped only if it can be sealed against shrinking, as an access beyond the end of
 * a file that a client has cut is a SIGBUS, which ends this process. That is so for memfds alone. `trustClient` takes any
 * file (QEMU's memory-backend-file), with what a file can do: shrink, be on a full disk, or let an access wait.
 */
import { fstatSync, type Stats } from 'node:fs';
import { constants } from 'node:os';
import { NicError } from '../../errors.js';
import {
  MAP_SHARED,
  mmapAddress,
  munmapAddress,
  PAGE_BYTES,
  PROT_READ,
  PROT_WRITE,
  viewMemory,
} from '../../syscalls/memory.js';
import type { MappingShare } from './mapping-budget.js';
import { sealAgainstShrinking } from './memory.js';
import {
  DMA_MAP_FILE_IO,
  DMA_MAP_MMAP,
  DMA_MAP_READ,
  DMA_MAP_WRITE,
  DMA_UNMAP_ALL,
  type DmaMap,
  type DmaUnmap,
} from './protocol.js';
import type { DmaWindow } from './served-device.js';

const { EEXIST, EINVAL, ENOENT, ENOSPC, ENOTSUP, EPERM } = constants.errno;

/** Addresses are numbers in the device model. */
const IOVA_LIMIT = 2n ** 53n;
const KNOWN_FLAGS = DMA_MAP_READ | DMA_MAP_WRITE | DMA_MAP_MMAP | DMA_MAP_FILE_IO;

/**
 * Long maps are several windows, as Node 20 aborts on views over 4 GiB. Each reaches this much beyond where the
 * next one starts, so an access up to this long never meets a border.
 */
const CHUNK_BYTES = 2 ** 30;
const CHUNK_OVERLAP_BYTES = 2 ** 20;

interface Chunk {
  readonly first: number;
  /** One past the last IOVA that is looked up here. */
  readonly end: number;
  readonly window: DmaWindow;
}

interface DmaMapRecord {
  readonly iova: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Undefined for memory that came without a file: it cannot be reached. */
  readonly memory: MappedFile | undefined;
  /** Made when first looked up, as a view costs about 50 us per MiB. */
  readonly chunks: (Chunk | undefined)[];
}

interface MappedFile {
  /** Of the mapping, which may start before the window and end after it. */
  readonly address: bigint;
  readonly sizeBytes: number;
  /** Of the window in the mapping. */
  readonly offset: number;
}

function refused(errno: number, text: string): NicError {
  return new NicError('DMA_MAP', text, { errno });
}

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

export interface DmaWindowOptions {
  /** What of the process's mappings the client may have. */
  readonly share: MappingShare;
  /** Maps memory that can shrink. Default false. */
  readonly trustClient?: boolean;
}

export class DmaWindowTable {
  readonly #options: DmaWindowOptions;
  /** Sorted by IOVA, not overlapping. */
  readonly #maps: DmaMapRecord[] = [];
  #last: Chunk | undefined;
  #generation = 0;

  constructor(options: DmaWindowOptions) {
    this.#options = options;
  }

  /** Changes with each map and unmap. */
  get generation(): number {
    return this.#generation;
  }

  get count(): number {
    return this.#maps.length;
  }

  /** The window that holds `iova`. */
  find(iova: number): DmaWindow | undefined {
    const last = this.#last;
    if (last !== undefined && iova >= last.first && iova < last.end) return last.window;
    return this.#search(iova);
  }

  /**
   * Adds what a DMA_MAP describes. `fd` stays the caller's: the mapping needs it no more.
   * @throws NicError with the errno to answer with
   */
  add(map: DmaMap, fd: number | undefined): void {
    const { iova, sizeBytes, offset, flags } = map;
    const what = `DMA_MAP of ${hex(sizeBytes)} bytes at ${hex(iova)}`;
    if (sizeBytes === 0n || (iova | sizeBytes | offset) % BigInt(PAGE_BYTES) !== 0n) {
      throw refused(EINVAL, `${what} from offset ${hex(offset)} is empty or not page aligned`);
    }
    if (iova + sizeBytes > IOVA_LIMIT || offset + sizeBytes > IOVA_LIMIT) {
      throw refused(EINVAL, `${what} is beyond 2^53`);
    }
    if ((flags & ~KNOWN_FLAGS) !== 0 || (flags & (DMA_MAP_READ | DMA_MAP_WRITE)) === 0) {
      throw refused(EINVAL, `${what} has flags ${hex(flags)}`);
    }
    // memory that comes without a file is not mapped, but has to be remembered
    const { maxMappings } = this.#options.share;
    if (this.#maps.length >= maxMappings) throw refused(ENOSPC, `${what} is one of more than ${maxMappings}`);
    const first = Number(iova);
    const end = first + Number(sizeBytes);
    const place = this.#countStartingAtOrBelow(end - 1);
    const before = this.#maps[place - 1];
    if (before !== undefined && before.end > first) throw refused(EEXIST, `${what} overlaps another`);
    const readable = (flags & DMA_MAP_READ) !== 0;
    const writable = (flags & DMA_MAP_WRITE) !== 0;
    const protection = (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0);
    const memory =
      fd === undefined ? undefined : this.#mapFile(fd, Number(offset), end - first, protection, what);
    this.#maps.splice(place, 0, { iova: first, end, readable, writable, memory, chunks: [] });
    this.#generation++;
  }

  /**
   * Takes away what a DMA_UNMAP names: every map inside the range, of which there must be one, and none that
   * reaches out of it. The protocol's text knows ranges of one map only; QEMU drops a whole virtual IOMMU at once.
   * @throws NicError with the errno to answer with
   */
  remove(unmap: DmaUnmap): void {
    const { flags, iova, sizeBytes } = unmap;
    const what = `DMA_UNMAP of ${hex(sizeBytes)} bytes at ${hex(iova)}`;
    if (flags === DMA_UNMAP_ALL) {
      if (iova !== 0n || sizeBytes !== 0n) throw refused(EINVAL, `${what} has a range and the flag for all`);
      this.clear();
      return;
    }
    if (flags !== 0) throw refused(ENOTSUP, `${what} has flags ${hex(flags)}`);
    if (sizeBytes === 0n || iova + sizeBytes > 2n ** 64n)
      throw refused(EINVAL, `${what} is empty or too long`);
    const first = Number(iova < IOVA_LIMIT ? iova : IOVA_LIMIT);
    const end = Number(iova + sizeBytes < IOVA_LIMIT ? iova + sizeBytes : IOVA_LIMIT);
    const from = this.#countStartingAtOrBelow(first - 1);
    const to = this.#countStartingAtOrBelow(end - 1);
    const before = this.#maps[from - 1];
    const last = this.#maps[to - 1];
    if ((before !== undefined && before.end > first) || (to > from && last !== undefined && last.end > end)) {
      throw refused(EINVAL, `${what} would split a map`);
    }
    if (to === from) throw refused(ENOENT, `${what} names nothing that is mapped`);
    this.#drop(this.#maps.splice(from, to - from));
  }

  clear(): void {
    if (this.#maps.length > 0) this.#drop(this.#maps.splice(0));
  }

  #drop(maps: readonly DmaMapRecord[]): void {
    this.#last = undefined;
    this.#generation++;
    for (const { memory } of maps) {
      if (memory === undefined) continue;
      munmapAddress(memory.address, memory.sizeBytes);
      this.#options.share.give(memory.sizeBytes);
    }
  }

  #mapFile(fd: number, offset: number, sizeBytes: number, protection: number, what: string): MappedFile {
    const file = this.#inspect(fd, what);
    if (offset + sizeBytes > file.size) {
      throw refused(
        EINVAL,
        `${what} from offset ${hex(offset)} is beyond its file of ${hex(file.size)} bytes`,
      );
    }
    const pageBytes = filePageBytes(file);
    const start = offset - (offset % pageBytes);
    const mappedBytes = Math.ceil((offset + sizeBytes - start) / pageBytes) * pageBytes;
    const { share } = this.#options;
    if (!share.take(mappedBytes)) {
      throw refused(
        ENOSPC,
        `${what} is more than the share of this process's mappings that a client may have`,
      );
    }
    try {
      const address = mmapAddress(fd, mappedBytes, start, protection, MAP_SHARED);
      return { address, sizeBytes: mappedBytes, offset: offset - start };
    } catch (error) {
      share.give(mappedBytes);
      throw error;
    }
  }

  /** A file that stays as long as it is, or whose owner is trusted to leave it so. */
  #inspect(fd: number, what: string): Stats {
    // Sealed first: a size that is looked at before could be gone again, and other files may let a look at them wait.
    if (!sealAgainstShrinking(fd) && this.#options.trustClient !== true) throw canShrink(what);
    const file = fstatSync(fd);
    if (!file.isFile()) throw refused(EINVAL, `${what} comes with a descriptor that is not a file in memory`);
    return file;
  }

  #countStartingAtOrBelow(iova: number): number {
    let low = 0;
    let high = this.#maps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#maps[middle]!.iova <= iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #search(iova: number): DmaWindow | undefined {
    const map = this.#maps[this.#countStartingAtOrBelow(iova) - 1];
    if (map === undefined || !(iova < map.end) || map.memory === undefined) return undefined;
    const index = Math.floor((iova - map.iova) / CHUNK_BYTES);
    const chunk = map.chunks[index] ?? makeChunk(map, map.memory, index);
    map.chunks[index] = chunk;
    this.#last = chunk;
    return chunk.window;
  }
}

function makeChunk(map: DmaMapRecord, memory: MappedFile, index: number): Chunk {
  const first = map.iova + index * CHUNK_BYTES;
  const sizeBytes = Math.min(map.end - first, CHUNK_BYTES + CHUNK_OVERLAP_BYTES);
  const address = memory.address + BigInt(memory.offset + index * CHUNK_BYTES);
  const buffer = viewMemory(address, sizeBytes);
  return {
    first,
    end: Math.min(map.end, first + CHUNK_BYTES),
    window: {
      iova: first,
      sizeBytes,
      readable: map.readable,
      writable: map.writable,
      bytes: new Uint8Array(buffer),
      words: new Int32Array(buffer),
    },
  };
}

function canShrink(what: string): NicError {
  return new NicError('DMA_MAP', `${what} comes with memory that its owner could shrink`, {
    errno: EPERM,
    hint: 'Memory from memfd_create with MFD_ALLOW_SEALING is taken (in QEMU: -object memory-backend-memfd). For clients you trust, any file is: barewire emulate --trust-client.',
  });
}

/** Hugepage files can be mapped in whole pages only, and say so by their block size. */
function filePageBytes(file: Stats): number {
  const { blksize } = file;
  return blksize > PAGE_BYTES && blksize % PAGE_BYTES === 0 && blksize <= CHUNK_BYTES ? blksize : PAGE_BYTES;
}
