/**
 * What a queue counts. Packet loops add to these arrays, so their form is chosen for the compiled code: Float64 elements never
 * allocate, however high they count, and each starts at one half. Where all values are whole, V8 14 (Node.js 26) compiles
 * `counters[i] += n` as an addition that checks for overflow of whole numbers: 20 instructions a counter, 3.5 to 5 ns a poll.
 * The half makes it a plain addition; `countsOf` takes it off.
 */
import { STATE_LENGTH } from '../instantiate.js';

/** As high as Float64 counts halves exactly. */
const FIRST = 0.5;

/** Counters at zero; elements as in LAYOUT. */
export function newCounters(): Float64Array {
  return new Float64Array(STATE_LENGTH).fill(FIRST);
}

/** What was counted. */
export function countsOf(counters: Float64Array): Float64Array {
  return counters.map(Math.floor);
}
