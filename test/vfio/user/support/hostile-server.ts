/** A server in a worker thread that spoils its answers as a script tells (hostile-worker.ts). */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { VfioDevice } from '../../../../src/vfio/types.js';
import { connectVfioUser, type VfioUserClientOptions } from '../../../../src/vfio/user/client.js';
import { HANG_MS } from '../../../support/hang.js';
import type { HostileData, Script } from './hostile-worker.js';

/** Nothing is spoilt. */
const HONEST: Script = {
  at: -1,
  patches: [],
  cutBytes: 0,
  before: [],
  extraFds: 0,
  extraKind: undefined,
  hangUp: false,
  delayMs: 0,
  flood: 'none',
  memory: 'sealed',
};
const LIVENESS_MS = HANG_MS;

export class HostileServer {
  readonly #data: HostileData;
  readonly #directory: string;
  readonly #worker: Worker;

  private constructor(data: HostileData, directory: string, worker: Worker) {
    this.#data = data;
    this.#directory = directory;
    this.#worker = worker;
  }

  static async start(): Promise<HostileServer> {
    const directory = mkdtempSync(join(tmpdir(), 'barewire-'));
    const data: HostileData = {
      path: join(directory, 's'),
      control: new Int32Array(new SharedArrayBuffer(12)),
      text: new Uint8Array(new SharedArrayBuffer(1 << 20)),
    };
    const worker = new Worker(new URL('./hostile-worker.js', import.meta.url), {
      workerData: data,
      trackUnmanagedFds: false,
    });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return new HostileServer(data, directory, worker);
  }

  get path(): string {
    return this.#data.path;
  }

  /** The server sends what nobody asked for. */
  get isFlooding(): boolean {
    return Atomics.load(this.#data.control, 2) === 1;
  }

  stopFlooding(): void {
    Atomics.store(this.#data.control, 2, 0);
  }

  /** Connects to the server, which plays `script`, and lets `action` use the device. */
  async against(
    script: Partial<Script>,
    action: (device: VfioDevice) => void | Promise<void>,
    options: VfioUserClientOptions = { timeoutMs: 2000 },
  ): Promise<void> {
    this.#play(script);
    try {
      const device = await connectVfioUser(this.path, options);
      try {
        await action(device);
      } finally {
        device.close();
      }
    } finally {
      this.#end();
    }
  }

  async stop(): Promise<void> {
    const exit = new Promise((resolve) => this.#worker.once('exit', resolve));
    Atomics.store(this.#data.control, 0, 2);
    Atomics.notify(this.#data.control, 0);
    await exit;
    rmSync(this.#directory, { recursive: true });
  }

  #play(script: Partial<Script>): void {
    const { control, text } = this.#data;
    if (Atomics.load(control, 0) !== 0) throw new Error('The hostile server is stuck');
    const json = new TextEncoder().encode(JSON.stringify({ ...HONEST, ...script }));
    text.set(json);
    control[1] = json.length;
    Atomics.store(control, 0, 1);
    Atomics.notify(control, 0);
  }

  /** The worker could not tell of its death while this thread blocks: the next script would find it stuck. */
  #end(): void {
    Atomics.wait(this.#data.control, 0, 1, LIVENESS_MS);
  }
}
