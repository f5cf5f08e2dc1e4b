/** What a capture file says of the port that its frames came from, and of what was lost there. */

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
