/** The frames of native/veth-load.c, and the check that each receiver makes of them. */

/** Ethernet, IPv4 and UDP headers: what lies behind them is a datagram's payload. */
export const HEADERS_BYTES = 14 + 20 + 8;
const MAGIC = 0x42575652;
/** Behind the magic word. */
const NUMBER_OFFSET = 4;

/**
 * Counts the frames of the load and finds those that come twice, out of order or with a wrong length. Reading magic
 * word and number is also the one look at a packet that each path is made to take.
 */
export class FrameCheck {
  received = 0;
  reordered = 0;
  wrongLength = 0;
  /** Frames of somebody else. */
  foreign = 0;
  #highest = -1;
  readonly #payloadBytes: number;

  /** @param sizeBytes of each frame, without FCS */
  constructor(sizeBytes: number) {
    this.#payloadBytes = sizeBytes - HEADERS_BYTES;
  }

  /** @param at where the payload begins in `bytes` @param lengthBytes of the payload; false: not one of ours */
  accept(bytes: Uint8Array, at: number, lengthBytes: number): boolean {
    if (lengthBytes < 8 || get32(bytes, at) !== MAGIC) {
      this.foreign++;
      return false;
    }
    const number = get32(bytes, at + NUMBER_OFFSET) >>> 0;
    if (lengthBytes !== this.#payloadBytes) this.wrongLength++;
    if (number > this.#highest) this.#highest = number;
    else this.reordered++;
    this.received++;
    return true;
  }
}

function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
