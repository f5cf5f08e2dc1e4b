/** A passage that shows each frame to somebody on its way: for captures and for counting. */
import { type FrameMemory, isReceiving, longestFrameBytes, type Port } from '../link.js';

/** Called for each frame; the memory is only valid during the call. `fromA`: it came in at end `a`. */
export type FrameListener = (
  memory: FrameMemory,
  offsetBytes: number,
  lengthBytes: number,
  fromA: boolean,
) => void;

/**
 * Two ends that pass frames straight on.
 *
 * @example
 * const monitor = new Monitor((memory, offset, length) => capture.write(memory, offset, length));
 * connect(nicA, monitor.a);
 * connect(monitor.b, nicB);
 */
export class Monitor {
  readonly a: Port;
  readonly b: Port;

  constructor(listener: FrameListener) {
    const a = new MonitorEnd(listener, true);
    const b = new MonitorEnd(listener, false);
    a.other = b;
    b.other = a;
    this.a = a;
    this.b = b;
  }
}

class MonitorEnd implements Port {
  /** Where frames that come in at the other end go out. */
  out: Port | undefined;
  other: MonitorEnd | undefined;
  readonly #listener: FrameListener;
  readonly #isA: boolean;

  constructor(listener: FrameListener, isA: boolean) {
    this.#listener = listener;
    this.#isA = isA;
  }

  plug(out: Port | undefined): void {
    this.out = out;
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    this.#listener(memory, offsetBytes, lengthBytes, this.#isA);
    return this.other?.out?.deliver(memory, offsetBytes, lengthBytes) ?? true;
  }

  damaged(lengthBytes: number): void {
    this.other?.out?.damaged(lengthBytes);
  }

  flush(): void {
    this.other?.out?.flush();
  }

  room(): number {
    return this.other?.out?.room() ?? 0;
  }

  carrier(): void {}

  receiving(): boolean {
    return isReceiving(this.other?.out);
  }

  maxFrameBytes(): number {
    return longestFrameBytes(this.other?.out);
  }
}
