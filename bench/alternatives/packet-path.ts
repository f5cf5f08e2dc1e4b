/** AF_PACKET with a system call for each frame in and another for each frame out. */
import { closeSync } from 'node:fs';
import { HEADERS_BYTES } from './frames.js';
import {
  check,
  droppedFrames,
  EAGAIN,
  errno,
  packetSocket,
  calls as system,
  tuneReceive,
} from './packet-sockets.js';
import { type KernelPath, type PathOptions, runBursts } from './path.js';

const BUFFER_BYTES = 8 << 20;
const BATCH = 32;
/** How long a `recv` may wait: the event loop has its turn between. */
const WAIT_MS = 1;

export class PacketPath implements KernelPath {
  sent = 0;
  calls = 0;
  readonly #options: PathOptions;
  readonly #in: number;
  readonly #out: number;
  readonly #frame = new Uint8Array(new ArrayBuffer(2048));
  #dropped = 0;

  constructor(options: PathOptions) {
    this.#options = options;
    this.#in = packetSocket(options.from, true);
    tuneReceive(this.#in, BUFFER_BYTES, WAIT_MS);
    this.#out = options.job === 'forward' ? packetSocket(options.to, false) : -1;
  }

  dropped(): number {
    this.#dropped += droppedFrames(this.#in);
    return this.#dropped;
  }

  run(signal: AbortSignal): Promise<void> {
    return runBursts(() => this.#poll(), signal);
  }

  #poll(): number {
    const frame = this.#frame;
    for (let i = 0; i < BATCH; i++) {
      const length = system.recv(this.#in, frame, frame.length, 0);
      this.calls++;
      if (length < 0) {
        if (errno() !== EAGAIN) check('recv', length);
        return i;
      }
      if (!this.#options.check.accept(frame, HEADERS_BYTES, length - HEADERS_BYTES)) continue;
      if (this.#out < 0) continue;
      this.calls++;
      check('send', system.send(this.#out, frame, length, 0));
      this.sent++;
    }
    return BATCH;
  }

  close(): void {
    closeSync(this.#in);
    if (this.#out >= 0) closeSync(this.#out);
  }
}
