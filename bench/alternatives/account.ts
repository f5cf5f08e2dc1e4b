/** Where each frame went: those that are missing somewhere must have been dropped and counted by the kernel. */
import type { Job } from './row.js';

/** Frames, each counted at one place on the way from the source to the sink. */
export interface Account {
  readonly sent: number;
  /** Dropped by the source's interface. */
  readonly lostBefore: number;
  /** Found no room in the forwarder's socket. */
  readonly noRoom: number;
  readonly received: number;
  readonly reordered: number;
  readonly wrongLength: number;
  readonly forwarded: number;
  /** Dropped by the interface that forwarded frames leave by. */
  readonly lostBehind: number;
  readonly sink: {
    readonly received: number;
    readonly dropped: number;
    readonly reordered: number;
    readonly wrongLength: number;
  };
}

/** What is wrong; undefined: nothing. */
export function problemOf(job: Job, account: Account): string | undefined {
  const { sent, lostBefore, noRoom, received, reordered, wrongLength, forwarded, lostBehind, sink } = account;
  if (received === 0) return 'nothing was received';
  if (reordered > 0 || wrongLength > 0) {
    return `${reordered} frames out of order, ${wrongLength} of a wrong length`;
  }
  if (received + noRoom + lostBefore !== sent) {
    return `sent ${sent}, received ${received}, dropped ${noRoom} + ${lostBefore}`;
  }
  if (job === 'receive') return undefined;
  if (forwarded !== received) return `received ${received} and forwarded ${forwarded}`;
  if (sink.reordered > 0 || sink.wrongLength > 0) {
    return `behind the forwarder ${sink.reordered} out of order, ${sink.wrongLength} of a wrong length`;
  }
  if (sink.received + sink.dropped + lostBehind !== forwarded) {
    return `forwarded ${forwarded}, arrived ${sink.received}, dropped ${sink.dropped} + ${lostBehind}`;
  }
  return undefined;
}
