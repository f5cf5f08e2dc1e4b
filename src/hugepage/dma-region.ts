/**
 * Memory that a NIC reads and writes: a memfd mapped shared, of hugepages where there are some. No hugetlbfs mount
 * is needed, the kernel frees it with the last descriptor (after SIGKILL too), and the same descriptor can be handed
 * to a vfio-user server.
 *
 * The pages are populated but not locked with mlock: VFIO pins what it maps, and counting the same pages twice
 * would halve what an unprivileged user may map.
 */
import { closeSync, ftruncateSync, readFileSync } from 'node:fs';
import createDebug from 'debug';
import { isErrno, NicError } from '../errors.js';
import { choiceOption } from '../options.js';
import {
  addFileSeals,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  MAP_POPULATE,
  MAP_SHARED,
  type Mapping,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGE_1GB,
  MFD_HUGE_2MB,
  MFD_HUGETLB,
  memfdCreate,
  mmap,
  munmap,
  PAGE_BYTES,
  PROT_READ,
  PROT_WRITE,
} from '../syscalls/memory.js';
import { coversIova } from '../vfio/iova-ranges.js';
import type { DmaBacking, DmaMapper } from '../vfio/types.js';
import { IovaSpace } from './iova-space.js';

const debug = createDebug('barewire:hugepage');

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Page sizes that can be asked for. `auto`: 2 MiB, else normal pages with one warning for the process. */
export type PageSize = 'auto' | '4K' | '2M' | '1G';
export const PAGE_SIZES = ['auto', '4K', '2M', '1G'] as const satisfies readonly PageSize[];

const HUGE_PAGES = {
  '2M': { sizeBytes: 2 * MIB, flag: MFD_HUGE_2MB, directory: 'hugepages-2048kB' },
  '1G': { sizeBytes: GIB, flag: MFD_HUGE_1GB, directory: 'hugepages-1048576kB' },
} as const;

export interface DmaRegionOptions {
  /** At least this many bytes; rounded up to whole pages. At most 4 GiB. */
  readonly sizeBytes: number;
  readonly pageSize?: PageSize;
  /** Shows in /proc/PID/maps as `memfd:barewire-NAME`. */
  readonly name: string;
  /** Where addresses come from. By default the one space of the process. */
  readonly space?: IovaSpace;
}

/** All devices of a process share one container or IOAS, so they share one numbering. */
const processSpace = new IovaSpace();

let warned = false;
/** Called once a process when hugepages were wanted and there were none. */
let warn = (message: string): void => {
  process.emitWarning(message, { code: 'BAREWIRE_NO_HUGEPAGES' });
};

/** Replaces what is done with the warning about missing hugepages (by default `process.emitWarning`). */
export function onHugepageWarning(listener: (message: string) => void): void {
  warn = listener;
  warned = false;
}

export class DmaRegion implements DmaBacking {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly pageSizeBytes: number;
  readonly buffer: ArrayBuffer;
  readonly #mapping: Mapping;
  readonly #space: IovaSpace;
  readonly #name: string;
  /** How many users each mapper has: one container serves several devices. */
  readonly #mappers = new Map<DmaMapper, number>();
  #iova: bigint | undefined;
  #closed = false;

  /**
   * Allocates and populates memory, zeroed.
   * @throws NicError `NO_MEMORY` where the pages asked for are not free, `BAD_OPTION` for an impossible size
   */
  constructor(options: DmaRegionOptions) {
    const { sizeBytes, pageSize = 'auto', name } = options;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes > 4 * GIB) {
      throw new NicError('BAD_OPTION', `A DMA region of ${sizeBytes} bytes is not possible`, {
        hint: 'One region holds 1 byte to 4 GiB.',
      });
    }
    choiceOption('pageSize', pageSize, PAGE_SIZES);
    const pages = allocatePages(sizeBytes, pageSize, name);
    this.fd = pages.fd;
    this.sizeBytes = pages.mapping.sizeBytes;
    this.pageSizeBytes = pages.pageSizeBytes;
    this.buffer = pages.mapping.buffer;
    this.#mapping = pages.mapping;
    this.#space = options.space ?? processSpace;
    this.#name = name;
  }

  /** Virtual address in this process. */
  get address(): bigint {
    return this.#mapping.address;
  }

  /** Bits 31:0 of the region's I/O virtual address. @throws NicError `DMA_MAP` before the first `mapInto` */
  get iovaLow(): number {
    return Number(this.#assignedIova() & 0xffff_ffffn);
  }

  /** Bits 63:32, the same for every byte of the region. @throws NicError `DMA_MAP` before the first `mapInto` */
  get iovaHigh(): number {
    return Number(this.#assignedIova() >> 32n);
  }

  /**
   * Lets the devices behind `mapper` access the region. Counted: each call needs its `unmapFrom`.
   * @throws NicError `DMA_MAP`, `MEMLOCK_LIMIT`, `IOVA_SPACE`
   */
  mapInto(mapper: DmaMapper): void {
    if (this.#closed) throw new NicError('CLOSED', `DMA memory "${this.#name}" is closed`);
    const users = this.#mappers.get(mapper);
    if (users !== undefined) {
      this.#mappers.set(mapper, users + 1);
      return;
    }
    this.#space.restrict(mapper.iovaRanges);
    this.#iova ??= this.#space.allocate(this.sizeBytes, this.pageSizeBytes);
    if (!coversIova(mapper.iovaRanges, this.#iova, this.sizeBytes)) {
      throw new NicError(
        'IOVA_SPACE',
        `DMA memory "${this.#name}" is at 0x${this.#iova.toString(16)}, which the IOMMU of a further device cannot reach`,
        { hint: 'Open the device with the smaller address range first.' },
      );
    }
    mapper.map(this, this.#iova);
    this.#mappers.set(mapper, 1);
    debug('%s: %d bytes at iova 0x%s', this.#name, this.sizeBytes, this.#iova.toString(16));
  }

  /** Ends one `mapInto`. With the last, the devices lose access: stop their DMA first. */
  unmapFrom(mapper: DmaMapper): void {
    const users = this.#mappers.get(mapper);
    if (users === undefined) return;
    if (users > 1) {
      this.#mappers.set(mapper, users - 1);
      return;
    }
    if (this.#iova !== undefined) mapper.unmap(this.#iova, this.sizeBytes);
    this.#mappers.delete(mapper);
  }

  /**
   * Takes the memory from every device and gives it back. May be called twice.
   * @throws what a mapper threw, with the memory given back all the same: the kernel keeps what is still mapped, and
   *   the I/O address is not used again
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    let failure: { error: unknown } | undefined;
    for (const mapper of this.#mappers.keys()) {
      try {
        if (this.#iova !== undefined) mapper.unmap(this.#iova, this.sizeBytes);
      } catch (error) {
        failure ??= { error };
      }
    }
    this.#mappers.clear();
    if (this.#iova !== undefined && failure === undefined) this.#space.release(this.#iova);
    munmap(this.#mapping);
    closeSync(this.fd);
    if (failure !== undefined) throw failure.error;
  }

  #assignedIova(): bigint {
    if (this.#iova === undefined) {
      throw new NicError('DMA_MAP', `DMA memory "${this.#name}" has no I/O address yet: no device uses it`);
    }
    return this.#iova;
  }
}

interface Pages {
  readonly fd: number;
  readonly mapping: Mapping;
  readonly pageSizeBytes: number;
}

function allocatePages(sizeBytes: number, pageSize: PageSize, name: string): Pages {
  if (pageSize === '4K') return mapMemfd(sizeBytes, PAGE_BYTES, 0, name);
  const wanted = pageSize === 'auto' ? '2M' : pageSize;
  const huge = HUGE_PAGES[wanted];
  try {
    return mapMemfd(sizeBytes, huge.sizeBytes, (MFD_HUGETLB | huge.flag) >>> 0, name);
  } catch (error) {
    const count = Math.ceil(sizeBytes / huge.sizeBytes);
    const noHugepages = ['ENOMEM', 'ENODEV', 'EINVAL', 'ENOSYS'].some((errno) => isErrno(error, errno));
    if (!noHugepages) throw error;
    const hint = hugepageHint(count, huge.directory);
    if (pageSize !== 'auto') {
      throw new NicError('NO_MEMORY', `${count} hugepages of ${wanted}iB are not free`, {
        hint,
        cause: error,
      });
    }
    if (!warned) {
      warned = true;
      warn(`No free hugepages: using normal pages, which is slower on real hardware. ${hint}`);
    }
    return mapMemfd(sizeBytes, PAGE_BYTES, 0, name);
  }
}

function mapMemfd(sizeBytes: number, pageSizeBytes: number, flags: number, name: string): Pages {
  const rounded = Math.ceil(sizeBytes / pageSizeBytes) * pageSizeBytes;
  const fd = memfdCreate(`barewire-${name}`, (MFD_CLOEXEC | MFD_ALLOW_SEALING | flags) >>> 0);
  try {
    ftruncateSync(fd, rounded);
    // A vfio-user server gets this file: shrunk by it, our next access would be a SIGBUS, which ends the process.
    if (!addFileSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
      debug('%s: this kernel does not seal pages of %d bytes', name, pageSizeBytes);
    }
    const mapping = mmap(fd, rounded, 0, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE);
    return { fd, mapping, pageSizeBytes };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Tells how many pages to reserve, counting those that are reserved already and in use. */
function hugepageHint(missing: number, directory: string): string {
  const path = `/sys/kernel/mm/hugepages/${directory}/nr_hugepages`;
  let total = 0;
  try {
    total = Number.parseInt(readFileSync(path, 'utf8'), 10) || 0;
  } catch {
    return 'This kernel has no hugepages of that size.';
  }
  return `Reserve some as root: echo ${total + missing} > ${path}`;
}
