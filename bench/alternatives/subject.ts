/**
 * A process that receives or forwards by one path, started by veth.ts with a channel to it. After 'ready' the load
 * begins; the process measures itself over a window of time, and at the end tells its totals to be checked.
 */
import { library } from './compile.js';
import { DgramPath } from './dgram-path.js';
import { FrameCheck } from './frames.js';
import { PacketPath } from './packet-path.js';
import type { KernelPath, PathName, PathOptions } from './path.js';
import { type ProcessTime, processTime, timeBetween } from './process-time.js';
import { RingPath } from './ring-path.js';
import type { Job } from './row.js';
import { XdpCPath } from './xdp-c-path.js';
import { XdpPath } from './xdp-path.js';

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
export interface Window extends ProcessTime {
  readonly packets: number;
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

/** The load has begun; the load has ended. */
export type ToSubject = { readonly type: 'begun' | 'end' };

const SETTLE_MS = 60;

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
    case 'xdp':
      return XdpPath.open(pathOptions);
    case 'xdpC':
      return new XdpCPath(pathOptions, library('xdp-forward'), options.sizeBytes);
  }
}

function snapshot(path: KernelPath): Window {
  return { packets: check.received, calls: path.calls, ...processTime() };
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
          calls: after.calls - before.calls,
          ...timeBetween(before, after),
        },
      });
    }, options.measureMs);
  }, options.warmUpMs);
}

/** Stops when what is still on its way has come. */
function stopWhenIdle(): void {
  let before = check.received;
  const timer = setInterval(() => {
    if (check.received === before) {
      clearInterval(timer);
      stop.abort();
    }
    before = check.received;
  }, SETTLE_MS);
}

const path = await open(options.path, { ...options, check });
const droppedBefore = path.dropped();
process.on('message', ({ type }: ToSubject) => {
  if (type === 'begun') measure(path);
  else stopWhenIdle();
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
