/**
 * A process that receives or forwards by one path, started by veth.ts with a channel to it. After 'ready' the load
 * begins; the process measures itself over a window of time, and at the end tells its totals to be checked.
 */
import { DgramPath } from './dgram-path.js';
import { FrameCheck } from './frames.js';
import { PacketPath } from './packet-path.js';
import type { KernelPath, PathName, PathOptions } from './path.js';
import { RingPath } from './ring-path.js';
import type { Job } from './row.js';

/** Its only argument, as JSON. */
export interface SubjectOptions {
  readonly path: PathName;
  readonly job: Job;
  readonly sizeBytes: number;
  readonly from: string;
  readonly to: string;
  /** Library that counts calls, for `dgram`. */
  readonly counter: string;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

/** What was done in the window. */
export interface Window {
  readonly packets: number;
  readonly seconds: number;
  /** User and system time of all threads. */
  readonly cpuSeconds: number;
  readonly calls: number;
}

export interface Totals {
  readonly received: number;
  readonly reordered: number;
  readonly wrongLength: number;
  readonly sent: number;
  readonly dropped: number;
}

export type FromSubject =
  | { readonly type: 'ready' }
  | { readonly type: 'window'; readonly window: Window }
  | { readonly type: 'totals'; readonly totals: Totals };

/** The load has begun; the load has ended and all of it has arrived. */
export type ToSubject = { readonly type: 'begun' | 'end' };

const options = JSON.parse(process.argv[2]!) as SubjectOptions;
const check = new FrameCheck(options.sizeBytes);
const stop = new AbortController();
const tell = (message: FromSubject): void => {
  process.send!(message);
};

async function open(path: PathName, pathOptions: PathOptions): Promise<KernelPath> {
  switch (path) {
    case 'dgram':
      return DgramPath.open(pathOptions, options.counter);
    case 'packet':
      return new PacketPath(pathOptions);
    case 'ring':
      return new RingPath(pathOptions);
  }
}

function snapshot(path: KernelPath): Window {
  const { user, system } = process.cpuUsage();
  return {
    packets: check.received,
    seconds: performance.now() / 1000,
    cpuSeconds: (user + system) / 1e6,
    calls: path.calls,
  };
}

function measure(path: KernelPath): void {
  setTimeout(() => {
    const before = snapshot(path);
    setTimeout(() => {
      const after = snapshot(path);
      tell({
        type: 'window',
        window: {
          packets: after.packets - before.packets,
          seconds: after.seconds - before.seconds,
          cpuSeconds: after.cpuSeconds - before.cpuSeconds,
          calls: after.calls - before.calls,
        },
      });
    }, options.measureMs);
  }, options.warmUpMs);
}

const path = await open(options.path, { ...options, check });
const droppedBefore = path.dropped();
process.on('message', ({ type }: ToSubject) => {
  if (type === 'begun') measure(path);
  else stop.abort();
});
process.once('disconnect', () => stop.abort());
tell({ type: 'ready' });
await path.run(stop.signal);
tell({
  type: 'totals',
  totals: {
    received: check.received,
    reordered: check.reordered,
    wrongLength: check.wrongLength,
    sent: path.sent,
    dropped: path.dropped() - droppedBefore,
  },
});
path.close();
if (process.connected) process.disconnect();
