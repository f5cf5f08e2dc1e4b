/**
 * The client's DMA mapper: hands memory to the server by descriptor, and serves DMA_READ and DMA_WRITE from the same
 * memory for servers that do not map it.
 */
import { constants } from 'node:os';
import { NicError } from '../../errors.js';
import { type Mapping, mapShared, munmap, PAGE_BYTES } from '../../syscalls/memory.js';
import { DmaLedger } from '../dma-ledger.js';
import { coversIova, rangesBesideMsi } from '../iova-ranges.js';
import type { DmaBacking, DmaMapper } from '../types.js';
import {
  Command,
  commandName,
  DEFAULT_MAX_TRANSFER_BYTES,
  DMA_MAP_READ,
  DMA_MAP_WRITE,
  type DmaRange,
  decodeDmaData,
  decodeDmaRange,
  encodeDmaMap,
  encodeDmaRange,
  encodeDmaUnmap,
} from './protocol.js';

const { EINVAL, ENOTSUP } = constants.errno;

/** What the protocol lets a server translate, without page 0. */
const IOVA_RANGES = rangesBesideMsi(BigInt(PAGE_BYTES), 2n ** 48n - 1n);

interface Mapped extends DmaBacking {
  /** Made when the server first asks for this memory by message. */
  mapping: Mapping | undefined;
}

/** What the mapper needs of the connection. */
export interface DmaConnection {
  readonly path: string;
  /** Sends a command with descriptors and waits for the reply. @throws NicError `DMA_MAP` where refused */
  request(command: number, body: Uint8Array, fds: readonly number[]): void;
  isGone(): boolean;
  maxMaps(): number;
}

export class ClientDma implements DmaMapper {
  readonly iovaRanges = IOVA_RANGES;
  readonly #connection: DmaConnection;
  readonly #ledger = new DmaLedger<Mapped>();

  constructor(connection: DmaConnection) {
    this.#connection = connection;
  }

  map(backing: DmaBacking, iova: bigint): void {
    const sizeBytes = BigInt(backing.sizeBytes);
    const what = `${backing.sizeBytes} bytes at IOVA 0x${iova.toString(16)}`;
    if (!coversIova(IOVA_RANGES, iova, backing.sizeBytes)) {
      throw this.#refused(`${what} are outside the usable ranges`);
    }
    if (this.#ledger.count >= this.#connection.maxMaps()) {
      throw this.#refused(`${what} are one map more than the server's ${this.#connection.maxMaps()}`);
    }
    const flags = DMA_MAP_READ | DMA_MAP_WRITE;
    this.#connection.request(Command.DMA_MAP, encodeDmaMap({ flags, offset: 0n, iova, sizeBytes }), [
      backing.fd,
    ]);
    this.#ledger.add(iova, { ...backing, mapping: undefined });
  }

  unmap(iova: bigint, sizeBytes: number): void {
    const { mapping } = this.#ledger.requireMapped(iova, sizeBytes);
    // a server that is gone has no access left to take away
    if (!this.#connection.isGone()) {
      const unmap = { flags: 0, iova, sizeBytes: BigInt(sizeBytes) };
      this.#connection.request(Command.DMA_UNMAP, encodeDmaUnmap(unmap), []);
    }
    this.#ledger.remove(iova);
    if (mapping !== undefined) munmap(mapping);
  }

  /**
   * Does a command of the server's and returns the body of the reply.
   * @throws NicError with the errno to answer with
   */
  serve(command: number, body: Uint8Array): Uint8Array {
    if (command === Command.DMA_READ) {
      const range = decodeDmaRange(body);
      return encodeDmaRange(range, this.#memory(range));
    }
    if (command === Command.DMA_WRITE) {
      const { data, ...range } = decodeDmaData(body);
      this.#memory(range).set(data);
      return encodeDmaRange(range);
    }
    throw new NicError('PROTOCOL', `${commandName(command)} is not for a client`, { errno: ENOTSUP });
  }

  close(): void {
    for (const { mapping } of this.#ledger.close()) if (mapping !== undefined) munmap(mapping);
  }

  #memory({ iova, count }: DmaRange): Uint8Array {
    const isPossible = count > 0 && count <= DEFAULT_MAX_TRANSFER_BYTES;
    const found = isPossible ? this.#ledger.find(iova, count) : undefined;
    if (found !== undefined) {
      const { entry, offset } = found;
      entry.mapping ??= mapShared(entry.fd, entry.sizeBytes);
      return new Uint8Array(entry.mapping.buffer, offset, count);
    }
    throw new NicError('PROTOCOL', `${count} bytes at IOVA 0x${iova.toString(16)} are not mapped`, {
      errno: EINVAL,
    });
  }

  #refused(text: string): NicError {
    return new NicError('DMA_MAP', `vfio-user server at ${this.#connection.path}: ${text}`, {
      path: this.#connection.path,
      errno: EINVAL,
    });
  }
}
