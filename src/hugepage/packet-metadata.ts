/**
 * What is known of packets besides their bytes and length, in the same words for all hardware: a driver translates to and
 * from its descriptors. Opt-in: a pool has none until somebody asks for it, and plain `receive` and `send` never look.
 * One element a buffer in each array.
 */

/** Bits of `PacketMetadata.rxFlags`. */
export const RxFlag = {
  /** A VLAN tag was taken out of the frame; it is in `vlanTags`. */
  VLAN: 1 << 0,
  /** The hardware checked the IPv4 header checksum. */
  IP_CHECKED: 1 << 1,
  /** ... and found it wrong. */
  IP_BAD: 1 << 2,
  /** The hardware checked the TCP or UDP checksum. */
  L4_CHECKED: 1 << 3,
  /** ... and found it wrong. */
  L4_BAD: 1 << 4,
  /** `hashes` has the hash that chose the queue. */
  HASH: 1 << 5,
  /** `timesNs` has the time of arrival. */
  TIME: 1 << 6,
} as const;

/** Bits of `PacketMetadata.txFlags`. */
export const TxFlag = {
  /** Put `vlanTags[i]` into the frame. */
  VLAN: 1 << 0,
  /** Compute the IPv4 header checksum; its field must be 0. */
  IP_CHECKSUM: 1 << 1,
  /** Compute the TCP checksum; its field must hold the sum of the pseudo header, not inverted. */
  TCP_CHECKSUM: 1 << 2,
  /** Compute the UDP checksum; its field must hold the sum of the pseudo header, not inverted. */
  UDP_CHECKSUM: 1 << 3,
  /**
   * The frame ends in an FCS of its own, its last four bytes, right or wrong: the hardware adds none and does not pad, so the frame
   * has 64 bytes at least. By itself only: other flags would change bytes that the FCS is about.
   */
  OWN_FCS: 1 << 5,
  /** Cut the payload into segments of `segmentBytes[i]`. */
  SEGMENT: 1 << 4,
} as const;

export class PacketMetadata {
  /** What a device opened with `rxMetadata` found out about each received packet: bits of `RxFlag`. */
  readonly rxFlags: Uint8Array;
  /** VLAN tag (PCP, DEI, VID) taken out on receive (`RxFlag.VLAN`), or to be put in on send (`TxFlag.VLAN`). */
  readonly vlanTags: Uint16Array;
  /** Hash over addresses and ports (Toeplitz, as RSS uses it), valid with `RxFlag.HASH`. */
  readonly hashes: Uint32Array;
  /** Time of arrival in nanoseconds of the device's clock, valid with `RxFlag.TIME`. */
  readonly timesNs: Float64Array;
  /** What `sendOffloaded` is to do: bits of `TxFlag`. `send` ignores it. */
  readonly txFlags: Uint8Array;
  /** Bytes of the Ethernet header (14, or 18 with a tag in the frame), for checksums by the hardware. */
  readonly l2Bytes: Uint8Array;
  /** Bytes of the IP header, for checksums by the hardware. */
  readonly l3Bytes: Uint16Array;
  /** Bytes of the TCP or UDP header, for segmentation. */
  readonly l4Bytes: Uint8Array;
  /** Payload bytes of each segment (`TxFlag.SEGMENT`). */
  readonly segmentBytes: Uint16Array;

  constructor(buffers: number) {
    this.rxFlags = new Uint8Array(buffers);
    this.vlanTags = new Uint16Array(buffers);
    this.hashes = new Uint32Array(buffers);
    this.timesNs = new Float64Array(buffers);
    this.txFlags = new Uint8Array(buffers);
    this.l2Bytes = new Uint8Array(buffers);
    this.l3Bytes = new Uint16Array(buffers);
    this.l4Bytes = new Uint8Array(buffers);
    this.segmentBytes = new Uint16Array(buffers);
  }
}
