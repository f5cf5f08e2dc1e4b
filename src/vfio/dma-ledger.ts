/** Which ranges of I/O virtual addresses a mapper has mapped, each with what the mapper keeps for it. */
import { NicError } from '../errors.js';

export class DmaLedger<Entry extends { readonly sizeBytes: number }> {
  readonly #entries = new Map<bigint, Entry>();
  #totalBytes = 0;
  #closed = false;

  get count(): number {
    return this.#entries.size;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** True after `close`: what was mapped went down with its container, IOAS or connection. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @throws NicError `CLOSED` after `close` */
  requireOpen(): void {
    if (this.#closed) throw new NicError('CLOSED', 'All devices of this DMA mapper are closed');
  }

  add(iova: bigint, entry: Entry): void {
    this.#entries.set(iova, entry);
    this.#totalBytes += entry.sizeBytes;
  }

  /** @throws NicError `DMA_MAP` for a range that was not mapped as a whole */
  requireMapped(iova: bigint, sizeBytes: number): Entry {
    const entry = this.#entries.get(iova);
    if (entry?.sizeBytes === sizeBytes) return entry;
    const what = entry === undefined ? 'nothing is' : `${entry.sizeBytes} bytes are`;
    const range = `${sizeBytes} bytes at IOVA 0x${iova.toString(16)}`;
    throw new NicError('DMA_MAP', `Cannot unmap ${range}: ${what} mapped there`);
  }

  /** The entry that holds the whole range, and where the range starts in it; undefined where none does. */
  find(iova: bigint, sizeBytes: number): { readonly entry: Entry; readonly offset: number } | undefined {
    const end = iova + BigInt(sizeBytes);
    for (const [first, entry] of this.#entries) {
      if (iova >= first && end <= first + BigInt(entry.sizeBytes)) {
        return { entry, offset: Number(iova - first) };
      }
    }
    return undefined;
  }

  remove(iova: bigint): void {
    this.#totalBytes -= this.#entries.get(iova)?.sizeBytes ?? 0;
    this.#entries.delete(iova);
  }

  /** Forgets all entries, and returns them. */
  close(): Entry[] {
    const entries = [...this.#entries.values()];
    this.#closed = true;
    this.#entries.clear();
    this.#totalBytes = 0;
    return entries;
  }
}
