/**
 * Polling where there is one CPU for two processes that wait for each other: a driver and the emulator that serves its
 * device. The one that polls in vain keeps the CPU until the scheduler takes it away, some milliseconds later; then the
 * other does as much as fits the rings, and polls in vain in its turn. So whoever finds nothing to do gives way.
 */
import { availableParallelism } from 'node:os';

/** Rounded up by the kernel's timer slack of 50 us: about a tenth of a millisecond in all. */
const GIVE_WAY_MS = 0.05;

const never = new Int32Array(new SharedArrayBuffer(4));

/** True where this process may run on one CPU only: the machine has no more, or its CPU affinity allows no other. */
export function hasOneCpu(): boolean {
  return availableParallelism() === 1;
}

/**
 * Sleeps for about a tenth of a millisecond, so that another process gets the CPU. Blocks the event loop: for between
 * bursts. sched_yield(2) would not do: it gives way within one scheduling group, and each session is a group of its own
 * (sched(7), "The autogroup feature"), as is each container and each unit of systemd.
 */
export function giveWay(): void {
  Atomics.wait(never, 0, 0, GIVE_WAY_MS);
}
