/** Pseudo-random numbers from 0 to 1 that are the same for the same seed (xorshift32, Marsaglia 2003). */
export function random(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4294967296;
  };
}
