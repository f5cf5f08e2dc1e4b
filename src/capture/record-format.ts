/** How a format writes what a capture consists of: a header, records one after the other, and perhaps an end. */
import type { InterfaceStatistics } from './capture-interface.js';

export interface RecordFormat {
  readonly name: 'pcap' | 'pcapng';
  /** What a file begins with. */
  readonly header: Uint8Array;
  /** Bytes of a record before its frame. */
  readonly recordHeaderBytes: number;
  /** Bytes of a whole record with a frame of so many bytes. */
  recordBytes(keptBytes: number): number;
  /** Puts a time into two words as records have it. */
  time(seconds: number, nanoseconds: number, words: Int32Array): void;
  /** Writes what surrounds a frame of `keptBytes`; the frame itself lies at `at + recordHeaderBytes`. Allocates nothing. */
  frame(
    into: Uint8Array,
    at: number,
    keptBytes: number,
    originalBytes: number,
    time: Int32Array,
    interfaceId: number,
  ): void;
  /** Bytes of the record that begins at `at`. */
  sizeAt(bytes: Uint8Array, at: number): number;
  /** What a file ends with; empty where the format has nothing. */
  end(statistics: readonly InterfaceStatistics[], seconds: number, nanoseconds: number): Uint8Array;
}
