/** What the measured ways to a packet through the kernel have in common. */
import type { FrameCheck } from './frames.js';
import type { Job } from './row.js';

export const PATHS = ['dgram', 'packet', 'ring', 'xdp', 'xdpC'] as const;
export type PathName = (typeof PATHS)[number];

/** Programs of the kernel's, which only root outside of all user namespaces may load. */
export const NEEDS_ROOT: readonly PathName[] = ['xdp', 'xdpC'];

export interface PathOptions {
  readonly job: Job;
  readonly check: FrameCheck;
  /** Interface where frames arrive, and the one they leave by. */
  readonly from: string;
  readonly to: string;
}

export interface KernelPath {
  /** Packets handed to the kernel for sending. */
  readonly sent: number;
  /** System calls made for packets so far. */
  readonly calls: number;
  /** Frames that the kernel has dropped since the socket had no room for them. */
  dropped(): number;
  /** Works until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Addresses of the interfaces: see veth.ts. */
export const FROM_ADDRESS = '10.71.0.2';
/** Where forwarded datagrams go. Nobody has this address; its neighbour entry is made by hand. */
export const FAR_ADDRESS = '10.71.1.1';
export const PORT = 9;

const BURST_MS = 1;

/** Calls `poll` until the signal is aborted; the event loop has its turn after a millisecond, or a poll without work. */
export async function runBursts(poll: () => number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const end = performance.now() + BURST_MS;
    while (poll() > 0 && performance.now() < end);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
