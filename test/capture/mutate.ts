/**
 * Reads damaged captures: real files with bytes changed, cut, repeated and moved.
 *
 *     node --no-warnings --expose-gc dist/test/capture/mutate-files.js --minutes 10 FILE...
 *
 * Each must end, with its frames inside of the reader's memory and at most one error of ours. Fails also where the process
 * grows. `npm test` runs a short version on files of its own (mutate.test.ts).
 */
import { Readable } from 'node:stream';
import { CaptureReader } from '../../src/capture/capture-reader.js';
import { compileFilter } from '../../src/capture/filter/index.js';
import { NicError } from '../../src/errors.js';
import { describeFrame } from '../../src/packet/describe.js';

/** Numbers that lengths, types and counts like least. */
const EDGES = [
  0, 1, 3, 4, 12, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 262_144, 262_145,
];
const FILTER = compileFilter('host 10.0.0.1 or udp port 53 or (vlan 7 and tcp)');
const MAX_BYTES = 1 << 20;

export interface MutationResult {
  files: number;
  frames: number;
  refused: number;
  damaged: number;
}

/** A generator of numbers from 0 to `below` - 1, the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A copy of a file with one to eight faults. */
export function mutate(original: Uint8Array, random: (below: number) => number): Buffer {
  let bytes = Buffer.from(original);
  for (let faults = 1 + random(8); faults > 0 && bytes.length > 8; faults--) {
    const at = random(bytes.length - 4);
    switch (random(7)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at]! ^= 1 << random(8);
        break;
      case 2:
        bytes.writeUInt32LE(EDGES[random(EDGES.length)]!, at & ~3);
        break;
      case 3:
        bytes.writeUInt32BE(EDGES[random(EDGES.length)]!, at & ~3);
        break;
      case 4:
        bytes = bytes.subarray(0, at);
        break;
      case 5: {
        const part = bytes.subarray(at, at + random(256));
        if (bytes.length < MAX_BYTES)
          bytes = Buffer.concat([bytes.subarray(0, at), part, part, bytes.subarray(at + part.length)]);
        break;
      }
      case 6:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(16))]);
        break;
    }
  }
  return bytes;
}

/** Reads a file in pieces to its end and looks at each frame, as a command does. @throws what no file may cause */
export async function readDamaged(
  bytes: Uint8Array,
  pieceBytes: number,
  result: MutationResult,
): Promise<void> {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  result.files++;
  let reader: CaptureReader;
  try {
    reader = await CaptureReader.open(Readable.from(pieces));
  } catch (error) {
    if (!(error instanceof NicError)) throw error;
    result.refused++;
    return;
  }
  try {
    do {
      while (reader.next()) look(reader, result);
    } while (await reader.fill());
    if (reader.damage !== undefined) result.damaged++;
  } finally {
    await reader.close();
  }
}

function look({ frame, memory }: CaptureReader, result: MutationResult): void {
  const { bytes, offsetBytes, lengthBytes, originalBytes, seconds, nanoseconds } = frame;
  result.frames++;
  const isInside = offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= memory.length;
  const isTime = Number.isFinite(seconds) && nanoseconds >= 0 && nanoseconds < 1e9;
  if (bytes !== memory || !isInside || !isTime || originalBytes < lengthBytes)
    throw new Error(`a frame that cannot be: ${JSON.stringify({ ...frame, bytes: undefined })}`);
  FILTER(bytes, offsetBytes, lengthBytes, originalBytes);
  describeFrame(bytes, lengthBytes, offsetBytes);
}
