/**
 * What a server shares of its device's regions, as the client maps it. Only memory that the server cannot shrink: an
 * access beyond the end of a file is a SIGBUS, which ends this process.
 */
import { fstatSync } from 'node:fs';
import createDebug from 'debug';
import { NicError } from '../../errors.js';
import { type Mapping, mapShared, munmap, PAGE_BYTES } from '../../syscalls/memory.js';
import type { MappedWindow } from '../region.js';
import { processMappings } from './mapping-budget.js';
import { sealAgainstShrinking } from './memory.js';
import {
  REGION_FLAG_MMAP,
  REGION_FLAG_READ,
  REGION_FLAG_WRITE,
  type RegionArea,
  type RegionInfo,
} from './protocol.js';

const debug = createDebug('barewire:vfio');

const MAPPABLE = REGION_FLAG_MMAP | REGION_FLAG_READ | REGION_FLAG_WRITE;
/** What is mapped of one device. No NIC has as much. */
const MAX_MAPPED_BYTES = 2 ** 30;
const MAX_MAPPED_AREAS = 64;

export interface RegionMemoryOptions {
  /** Maps memory that can shrink. */
  readonly trustServer: boolean;
  /** Of the device, for messages. */
  readonly address: string;
  /** Called with what the server did wrong; makes the error to throw. */
  readonly broken: (what: string) => NicError;
}

/** The mappings of one device. */
export class RegionMemory {
  readonly #options: RegionMemoryOptions;
  readonly #share = processMappings.join();
  readonly #mappings: Mapping[] = [];
  #mappedBytes = 0;

  constructor(options: RegionMemoryOptions) {
    this.#options = options;
  }

  /**
   * Maps what the server shares of a region by the descriptor `fd`, which may be closed then. What cannot be mapped, or
   * not safely, is left out: it is reached by messages.
   * @throws NicError `PROTOCOL` for areas beyond the file's end
   */
  map(info: RegionInfo, fd: number | undefined): MappedWindow[] {
    if (fd === undefined || (info.flags & MAPPABLE) !== MAPPABLE) return [];
    // before any other look at the file, which its maker could let wait
    if (!sealAgainstShrinking(fd) && !this.#options.trustServer) {
      debug('%s: region %d could shrink, so it is reached by messages', this.#options.address, info.index);
      return [];
    }
    const fileBytes = fstatSync(fd).size;
    const windows: MappedWindow[] = [];
    for (const area of info.areas ?? [{ offset: 0, sizeBytes: info.sizeBytes }]) {
      const start = info.offset + area.offset;
      if (start + area.sizeBytes > fileBytes) {
        throw this.#options.broken(
          `shares ${area.sizeBytes} bytes at ${start} of a file of ${fileBytes} bytes for region ${info.index}`,
        );
      }
      const mapping = isWholePages(area, start) ? this.#mapArea(fd, start, area.sizeBytes) : undefined;
      if (mapping !== undefined) windows.push({ offset: area.offset, buffer: mapping.buffer });
    }
    return windows;
  }

  /** Unmaps everything; views read zeros from then on. May be called twice. */
  close(): void {
    for (const mapping of this.#mappings.splice(0)) {
      munmap(mapping);
      this.#share.give(mapping.sizeBytes);
    }
    this.#share.leave();
  }

  /** Undefined where the device has had its share of this process's mappings, or the kernel refuses. */
  #mapArea(fd: number, start: number, sizeBytes: number): Mapping | undefined {
    if (this.#mappings.length >= MAX_MAPPED_AREAS) return undefined;
    if (this.#mappedBytes + sizeBytes > MAX_MAPPED_BYTES || !this.#share.take(sizeBytes)) return undefined;
    try {
      const mapping = mapShared(fd, sizeBytes, start);
      this.#mappings.push(mapping);
      this.#mappedBytes += sizeBytes;
      return mapping;
    } catch (error) {
      this.#share.give(sizeBytes);
      if (!(error instanceof NicError)) throw error;
      return undefined;
    }
  }
}

function isWholePages(area: RegionArea, start: number): boolean {
  return (
    area.sizeBytes > 0 && [start, area.offset, area.sizeBytes].every((value) => value % PAGE_BYTES === 0)
  );
}
