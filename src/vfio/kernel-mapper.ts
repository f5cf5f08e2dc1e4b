/** Mapping memory for DMA by requests to the kernel: what a container and an IOAS have in common. */
import { NicError } from '../errors.js';
import { dmaMapError } from './dma-errors.js';
import { DmaLedger } from './dma-ledger.js';
import { checkedIoctl, type KernelApi, rawIoctl } from './kernel-api.js';
import type { DmaBacking, DmaMapper, IovaRange } from './types.js';
import type { IoctlRequest, Struct } from './uapi.js';

/** An unmap request; the kernel writes the number of bytes it unmapped to the field at `sizeField`. */
export interface UnmapRequest {
  readonly request: IoctlRequest;
  readonly argument: Struct;
  readonly sizeField: number;
}

export abstract class KernelMapper implements DmaMapper {
  /** May narrow when another device is attached. */
  iovaRanges: readonly IovaRange[] = [];
  protected readonly kernel: KernelApi;
  /** The container, or /dev/iommu. */
  protected readonly fd: number;
  readonly #ledger = new DmaLedger<DmaBacking>();

  constructor(kernel: KernelApi, fd: number) {
    this.kernel = kernel;
    this.fd = fd;
  }

  protected abstract encodeMap(
    backing: DmaBacking,
    iova: bigint,
  ): { readonly request: IoctlRequest; readonly argument: Struct };

  protected abstract encodeUnmap(iova: bigint, sizeBytes: number): UnmapRequest;

  /** Asks the kernel for `iovaRanges`, as many as it has. @throws NicError `VFIO` */
  abstract refreshRanges(): void;

  map(backing: DmaBacking, iova: bigint): void {
    this.#ledger.requireOpen();
    const { request, argument } = this.encodeMap(backing, iova);
    const result = rawIoctl(this.kernel, this.fd, request, argument);
    if (result < 0) {
      const mappedBytes = this.#ledger.totalBytes;
      const ranges = this.iovaRanges;
      throw dmaMapError(this.kernel, { request, errno: -result, backing, iova, mappedBytes, ranges });
    }
    this.#ledger.add(iova, backing);
  }

  /** Does nothing after `close`: the kernel has taken all mappings down. */
  unmap(iova: bigint, sizeBytes: number): void {
    if (this.#ledger.closed) return;
    this.#ledger.requireMapped(iova, sizeBytes);
    const { request, argument, sizeField } = this.encodeUnmap(iova, sizeBytes);
    const what = `Cannot unmap IOVA 0x${iova.toString(16)}`;
    checkedIoctl(this.kernel, this.fd, request, argument, what, 'DMA_MAP');
    this.#ledger.remove(iova);
    const unmapped = argument.u64(sizeField);
    if (unmapped !== BigInt(sizeBytes)) {
      throw new NicError('DMA_MAP', `${what}: the kernel unmapped ${unmapped} of ${sizeBytes} bytes`, {
        syscall: `ioctl(${request.name})`,
      });
    }
  }

  /** The last device is about to be closed. */
  close(): void {
    this.#ledger.close();
  }
}
