/** How a format writes what a capture consists of: a header, records one after the other, and perhaps an end. */

/** What is known of an interface that frames are captured on. All but the link type is told in pcapng only. */
export interface CaptureInterface {
  readonly name?: string;
  readonly description?: string;
  readonly hardware?: string;
  /** Six bytes. */
  readonly mac?: Uint8Array;
  readonly speedBitsPerSecond?: number;
  /** The text of the filter that chose the frames. */
  readonly filter?: string;
  /** LINKTYPE_*; Ethernet by default. */
  readonly linkType?: number;
}

/** What became of the frames of one interface. */
export interface InterfaceStatistics {
  /** Frames that arrived, lost ones included. */
  readonly received?: number;
  /** Lost by the hardware. */
  readonly droppedByInterface?: number;
  /** Lost on their way from the hardware into the file. */
  readonly droppedBySystem?: number;
  /** Frames that the filter took. */
  readonly accepted?: number;
}

export interface RecordFormat {
  readonly name: 'pcap' | 'pcapng';
  /** What a file begins with. */
  readonly header: Uint8Array;
  /** Bytes of a record before its frame. */
  readonly recordHeaderBytes: number;
  /** Bytes of a whole record with a frame of so many bytes. */
  recordBytes(keptBytes: number): number;
  /** Writes what surrounds a frame of `keptBytes`; the frame itself lies at `at + recordHeaderBytes`. */
  frame(
    into: Buffer,
    at: number,
    keptBytes: number,
    originalBytes: number,
    seconds: number,
    nanoseconds: number,
    interfaceId: number,
  ): void;
  /** Bytes of the record that begins at `at`. */
  sizeAt(bytes: Uint8Array, at: number): number;
  /** What a file ends with; empty where the format has nothing. */
  end(statistics: readonly InterfaceStatistics[], seconds: number, nanoseconds: number): Uint8Array;
}
