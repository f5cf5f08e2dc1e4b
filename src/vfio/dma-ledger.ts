/** Which IOVA ranges a container or IOAS has mapped: both kernel mappers keep one. */
import { NicError } from '../errors.js';

export class DmaLedger {
  readonly #sizes = new Map<bigint, number>();
  #totalBytes = 0;
  #closed = false;

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** True after `close`: the kernel has taken all mappings down with the container. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @throws NicError `CLOSED` after `close` */
  requireOpen(): void {
    if (this.#closed) throw new NicError('CLOSED', 'All devices of this DMA mapper are closed');
  }

  add(iova: bigint, sizeBytes: number): void {
    this.#sizes.set(iova, sizeBytes);
    this.#totalBytes += sizeBytes;
  }

  /** @throws NicError `DMA_MAP` for a range that was not mapped as a whole */
  requireMapped(iova: bigint, sizeBytes: number): void {
    const mapped = this.#sizes.get(iova);
    if (mapped === sizeBytes) return;
    const what = mapped === undefined ? 'nothing is' : `${mapped} bytes are`;
    const range = `${sizeBytes} bytes at IOVA 0x${iova.toString(16)}`;
    throw new NicError('DMA_MAP', `Cannot unmap ${range}: ${what} mapped there`);
  }

  remove(iova: bigint): void {
    this.#totalBytes -= this.#sizes.get(iova) ?? 0;
    this.#sizes.delete(iova);
  }

  close(): void {
    this.#closed = true;
    this.#sizes.clear();
    this.#totalBytes = 0;
  }
}
