/** The end of a link that records every frame it gets, and the tap on a link that records what passes. */
import type { CaptureWriter } from '../../capture/capture-writer.js';
import { type FrameMemory, type Port, UNLIMITED_ROOM } from '../link.js';
import { Monitor } from './monitor.js';

/** Records all frames that arrive. Sends nothing. */
export class RecordPort implements Port {
  readonly writer: CaptureWriter;

  constructor(writer: CaptureWriter) {
    this.writer = writer;
  }

  plug(): void {}

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    this.writer.write(memory.bytes, offsetBytes, lengthBytes);
    return true;
  }

  damaged(): void {}
  flush(): void {}
  carrier(): void {}

  room(): number {
    return UNLIMITED_ROOM;
  }
}

/** A passage that records frames of both directions. */
export function recordingMonitor(writer: CaptureWriter): Monitor {
  return new Monitor((memory, offsetBytes, lengthBytes) =>
    writer.write(memory.bytes, offsetBytes, lengthBytes),
  );
}
