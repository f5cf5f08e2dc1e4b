/** AF_XDP in copy mode by Barewire: `open('xdp:...')`, and a loop over `receive` and `send`. */
import type { NetDevice, RxQueue, TxQueue } from '../../src/driver/device.js';
import { open } from '../../src/driver/registry.js';
import { COUNTERS } from '../../src/driver/xdp/counters.js';
import { XdpTxQueue } from '../../src/driver/xdp/tx-queue.js';
import { HEADERS_BYTES } from './frames.js';
import type { KernelPath, PathOptions } from './path.js';

const BATCH = 32;
const WAIT_MS = 1;
/** The event loop has its turn so often. */
const BURST_MS = 1;

export class XdpPath implements KernelPath {
  sent = 0;
  readonly #options: PathOptions;
  readonly #devices: readonly NetDevice[];
  readonly #rx: RxQueue;
  readonly #tx: TxQueue | undefined;
  readonly #bufs = new Uint32Array(BATCH);
  #waits = 0;

  static async open(options: PathOptions): Promise<XdpPath> {
    const shared = { promiscuous: true, pageSize: '4K' } as const;
    const from = await open(`xdp:${options.from}`, { ...shared, buffersForDevices: 2 });
    if (options.job === 'receive') return new XdpPath(options, [from]);
    return new XdpPath(options, [from, await open(`xdp:${options.to}`, { ...shared, pool: from.pool })]);
  }

  private constructor(options: PathOptions, devices: readonly [NetDevice, ...NetDevice[]]) {
    this.#options = options;
    this.#devices = devices;
    this.#rx = devices[0].rxQueues[0];
    this.#tx = devices[1]?.txQueues[0];
  }

  /** Calls of sendto; a wait counts as two, since the event loop arms the socket and sleeps. */
  get calls(): number {
    const wakeUps = this.#tx instanceof XdpTxQueue ? this.#tx.counters[COUNTERS.WAKE_UPS]! : 0;
    return wakeUps + 2 * this.#waits;
  }

  dropped(): number {
    const { rxMissed = 0, rxTooLong } = this.#devices[0]!.stats();
    return rxMissed + rxTooLong;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const end = performance.now() + BURST_MS;
      while ((this.#poll() > 0 || this.#rx.pending) && performance.now() < end);
      if (this.#rx.pending) await new Promise<void>((resolve) => setImmediate(resolve));
      else {
        this.#waits++;
        await this.#rx.wait({ timeoutMs: WAIT_MS });
      }
    }
  }

  #poll(): number {
    const { pool } = this.#rx;
    const bufs = this.#bufs;
    const count = this.#rx.receive(bufs);
    let good = 0;
    for (let i = 0; i < count; i++) {
      const packet = bufs[i]!;
      const at = (packet << pool.bufferShift) + HEADERS_BYTES;
      const length = pool.lengths[packet]! - HEADERS_BYTES;
      if (!this.#options.check.accept(pool.frames, at, length)) pool.free[pool.freeCount++] = packet;
      else bufs[good++] = packet;
    }
    if (good === 0) return count;
    if (this.#tx === undefined) pool.release(bufs, good);
    else {
      let sent = this.#tx.send(bufs, good);
      while (sent < good) sent += this.#tx.send(bufs, good - sent, sent);
      this.sent += good;
    }
    return count;
  }

  close(): void {
    for (const device of this.#devices) void device.close();
  }
}
