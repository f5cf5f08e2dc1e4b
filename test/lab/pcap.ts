/**
 * Reads capture files in the classic pcap format (the one of `tcpdump -w`), and captures with tcpdump.
 * Format: draft-ietf-opsawg-pcap.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { type Background, start } from './processes.js';

export interface CapturedFrame {
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint;
  /** Length on the wire; `bytes` is shorter if the capture cut the frame. */
  readonly originalLength: number;
  readonly bytes: Uint8Array;
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** Magic number, as read in the byte order of the file, to nanoseconds per unit of the record's fraction. */
const FRACTION_NS = new Map([
  [0xa1b2c3d4, 1000n],
  [0xa1b23c4d, 1n],
]);

/**
 * The frames of a capture file. A record cut off at the end, as of a program that was killed, is left out.
 *
 * @throws Error if it is not a pcap file
 */
export function parsePcap(file: Uint8Array): CapturedFrame[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < FILE_HEADER_BYTES) throw new Error(`not a pcap file: ${file.length} bytes`);
  const littleEndian = FRACTION_NS.has(view.getUint32(0, true));
  const fractionNs = FRACTION_NS.get(view.getUint32(0, littleEndian));
  if (fractionNs === undefined) throw new Error(`not a pcap file: magic ${view.getUint32(0).toString(16)}`);
  const frames: CapturedFrame[] = [];
  let offset = FILE_HEADER_BYTES;
  while (offset + RECORD_HEADER_BYTES <= file.length) {
    const [seconds, fraction, length, originalLength] = [0, 4, 8, 12].map((field) =>
      view.getUint32(offset + field, littleEndian),
    ) as [number, number, number, number];
    const begin = offset + RECORD_HEADER_BYTES;
    offset = begin + length;
    if (offset > file.length) break;
    const timeNs = BigInt(seconds) * 1_000_000_000n + BigInt(fraction) * fractionNs;
    frames.push({ timeNs, originalLength, bytes: file.subarray(begin, offset) });
  }
  return frames;
}

/** A running tcpdump. */
export class Capture {
  readonly #tcpdump: Background;
  readonly #path: string;

  private constructor(tcpdump: Background, path: string) {
    this.#tcpdump = tcpdump;
    this.#path = path;
  }

  /** Starts to capture on an interface; resolves when it listens. The filter is tcpdump's. */
  static async start(name: string, options: { netns?: string; filter?: string } = {}): Promise<Capture> {
    const path = `${mkdtempSync('/tmp/capture-')}/frames.pcap`;
    // Without -Z, tcpdump becomes a user that this system may not have.
    const args = ['-i', name, '-n', '-U', '-Z', 'root', '--immediate-mode', '-w', path];
    const { netns, filter } = options;
    const tcpdump = start('tcpdump', filter ? [...args, filter] : args, netns ? { netns } : {});
    await tcpdump.waitForOutput(/listening on/);
    return new Capture(tcpdump, path);
  }

  /** Stops and returns the captured frames. */
  async stop(): Promise<CapturedFrame[]> {
    await this.#tcpdump.stop('SIGINT');
    return parsePcap(readFileSync(this.#path));
  }
}
