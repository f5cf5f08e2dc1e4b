/** Times the polls of both directions, the forwarder's part of a round. */
import { instantiate } from '../src/driver/instantiate.js';

/**
 * Polls each direction `polls` times in turn and returns the nanoseconds that took. A function of its own for each
 * call: as with the driver's loops, the engine knows then what it calls.
 */
export function timedPolls(toB: { poll(): number }, toA: { poll(): number }): (polls: number) => number {
  return instantiate(makeTimedPolls, null, toB, toA);
}

function makeTimedPolls(
  _layout: null,
  toB: { poll(): number },
  toA: { poll(): number },
): (polls: number) => number {
  return function run(polls: number): number {
    const start = performance.now();
    for (let i = 0; i < polls; i++) {
      toB.poll();
      toA.poll();
    }
    return (performance.now() - start) * 1e6;
  };
}
