/** Reads whole captures into memory, as tests may. */
import { type CapturedFrame, CaptureReader } from '../../src/capture/capture-reader.js';

/** All frames of a capture. @throws NicError where it is damaged, too */
export async function readFrames(from: string | AsyncIterable<Uint8Array>): Promise<CapturedFrame[]> {
  const frames: CapturedFrame[] = [];
  for await (const frame of await CaptureReader.open(from)) frames.push(frame);
  return frames;
}
