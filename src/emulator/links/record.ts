/** The end of a link that records every frame it gets, and the tap on a link that records what passes. */
import type { CaptureWriter } from '../../capture/capture-writer.js';
import type { FrameMemory } from '../link.js';
import { LinkEnd } from './link-end.js';
import { Monitor } from './monitor.js';

/** Records all frames that arrive. Sends nothing. */
export class RecordPort extends LinkEnd {
  readonly writer: CaptureWriter;

  constructor(writer: CaptureWriter) {
    super();
    this.writer = writer;
  }

  override deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    this.writer.write(memory.bytes, offsetBytes, lengthBytes);
    return true;
  }
}

/** A passage that records frames of both directions. */
export function recordingMonitor(writer: CaptureWriter): Monitor {
  return new Monitor((memory, offsetBytes, lengthBytes) =>
    writer.write(memory.bytes, offsetBytes, lengthBytes),
  );
}
