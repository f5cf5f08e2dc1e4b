/** Two emulated NICs, a device on each, and workers that have their queues: for tests of what happens when things end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import type { NetDevice, OpenOptions } from '../../../src/driver/device.js';
import { open } from '../../../src/driver/registry.js';
import {
  shareWithThread,
  type ThreadShare,
  type ThreadShareOptions,
} from '../../../src/driver/thread-share.js';
import { type RunningEmulator, startEmulator } from '../../../src/emulator/worker.js';
import { onHugepageWarning } from '../../../src/hugepage/dma-region.js';
import type { WorkerTask } from './worker.js';

onHugepageWarning(() => {});

export interface Part {
  readonly worker: Worker;
  readonly share: ThreadShare;
  readonly messages: string[];
  readonly exited: Promise<number>;
  readonly stop: Int32Array;
}

/** Two emulated NICs with traffic at both, and a device on each. */
export class Stage {
  readonly #folder = mkdtempSync(join(tmpdir(), 'barewire-threads-'));
  readonly parts: Part[] = [];
  emulator!: RunningEmulator;
  a!: NetDevice;
  b!: NetDevice;

  async open(options: OpenOptions = {}, count = 600): Promise<this> {
    const paths = ['a', 'b'].map((name) => join(this.#folder, name));
    const traffic = { traffic: { count, flows: 4 } };
    this.emulator = await startEmulator({
      nics: paths.map((path) => ({ path })),
      links: [0, 1].map((nic) => ({ ends: [{ nic }, traffic] as const, flowControl: true })),
    });
    await this.#openDevices(paths, options);
    return this;
  }

  async #openDevices(paths: readonly string[], options: OpenOptions): Promise<void> {
    const all = { promiscuous: true, rxRingSize: 128, txRingSize: 128, ...options } as const;
    this.a = await open(`vfio-user:${paths[0]}`, { buffersForDevices: 2, ...all });
    this.b = await open(`vfio-user:${paths[1]}`, { pool: this.a.pool, ...all });
  }

  start(job: WorkerTask['job'], options: ThreadShareOptions): Part {
    const share = shareWithThread(options);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const task: WorkerTask = { ticket: share.ticket, job, stop };
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: task });
    const messages: string[] = [];
    worker.on('message', (message: string) => messages.push(message));
    worker.on('error', (error) => messages.push(`error ${error.message}`));
    const exited = new Promise<number>((resolve) => worker.once('exit', resolve));
    share.follow(worker);
    const part = { worker, share, messages, exited, stop };
    this.parts.push(part);
    return part;
  }

  async closeDevices(): Promise<void> {
    await Promise.all([this.a.close(), this.b.close()]);
  }

  /** Ends everything, and wants every buffer back. */
  async close(): Promise<void> {
    await this.closeDevices();
    for (const { worker, stop } of this.parts) {
      Atomics.store(stop, 0, 1);
      Atomics.notify(stop, 0);
      await worker.terminate();
    }
    const { available, capacity } = this.a.pool;
    await this.emulator.close();
    rmSync(this.#folder, { recursive: true });
    assert.is(available, capacity, 'every buffer is back');
  }
}
