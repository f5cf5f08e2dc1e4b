/** Times the polls of both directions, the forwarder's part of a round. */
import { instantiate } from '../src/driver/instantiate.js';

/**
 * Polls each direction `polls` times in turn and returns the nanoseconds that took. A function of its own for each pair of
 * directions. It calls the two from one place, so the engine inlines neither: what a poll inlines itself must not depend on
 * how many of them its caller has.
 */
export function timedPolls(toB: { poll(): number }, toA: { poll(): number }): (polls: number) => number {
  return instantiate(makeTimedPolls, null, [toB.poll, toA.poll], () => performance.now());
}

function makeTimedPolls(
  _layout: null,
  directions: readonly (() => number)[],
  nowMs: () => number,
): (polls: number) => number {
  return function run(polls: number): number {
    const start = nowMs();
    const calls = 2 * polls;
    for (let i = 0; i < calls; i++) directions[i & 1]!();
    return (nowMs() - start) * 1e6;
  };
}
