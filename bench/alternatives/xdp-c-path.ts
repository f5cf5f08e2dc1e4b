/** AF_XDP in copy mode by a C program with the same system calls: native/xdp-forward.c. */
import koffi from 'koffi';
import { HEADERS_BYTES } from './frames.js';
import type { KernelPath, PathOptions } from './path.js';

const BURST_MS = 1;
const Count = { RECEIVED: 0, REORDERED: 1, WRONG_LENGTH: 2, SENT: 3, CALLS: 4, DROPPED: 5 } as const;

export class XdpCPath implements KernelPath {
  readonly #options: PathOptions;
  readonly #payloadBytes: number;
  readonly #run: (milliseconds: number, payloadBytes: number) => number;
  readonly #count: (what: number) => number;

  /** @param path of the library @param sizeBytes of each frame, without FCS */
  constructor(options: PathOptions, path: string, sizeBytes: number) {
    this.#options = options;
    this.#payloadBytes = sizeBytes - HEADERS_BYTES;
    const library = koffi.load(path);
    const open = library.func('int xdp_open(const char *from, const char *to)');
    this.#run = library.func('double xdp_run(double milliseconds, uint32_t payload)');
    this.#count = library.func('double xdp_count(int what)');
    const result = open(options.from, options.job === 'forward' ? options.to : null) as number;
    if (result < 0) throw new Error(`xdp_open: errno ${-result}`);
  }

  get sent(): number {
    return this.#count(Count.SENT);
  }

  get calls(): number {
    return this.#count(Count.CALLS);
  }

  dropped(): number {
    return this.#count(Count.DROPPED);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { check } = this.#options;
    while (!signal.aborted) {
      this.#run(BURST_MS, this.#payloadBytes);
      check.received = this.#count(Count.RECEIVED);
      check.reordered = this.#count(Count.REORDERED);
      check.wrongLength = this.#count(Count.WRONG_LENGTH);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /** The sockets end with the process. */
  close(): void {}
}
