/** Pseudo-random numbers for traffic: the same seed gives the same numbers (xorshift32, Marsaglia 2003). */

/** Spreads a seed and a number over 32 bits, so that neighbouring seeds give unlike numbers. @returns never 0 */
export function mixSeed(seed: number, salt: number): number {
  let h = (seed ^ Math.imul(salt + 1, 0x9e37_79b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x21f0_aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a_2d97);
  return (h ^ (h >>> 15)) | 0 || 1;
}

/** The state that follows `state`, which is not 0. The numbers are the states themselves, as 32-bit integers. */
export function nextRandom(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  return x ^ (x << 5);
}

/** A number from 0 to below 1 from a state. */
export function unitOf(state: number): number {
  return (state >>> 0) / 0x1_0000_0000;
}
