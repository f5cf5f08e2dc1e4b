/**
 * Receive Side Scaling: which queue a flow goes to. Same layout in 82576 (datasheet 7.1.1.7) and 82599 (7.1.2.8).
 */
import { RSS_KEY, SYMMETRIC_RSS_KEY } from '../rss-key.js';

/** Words of the key registers. */
export function rssKeyWords(symmetric: boolean): Uint32Array {
  return new Uint32Array((symmetric ? SYMMETRIC_RSS_KEY : RSS_KEY).buffer);
}

const RETA_WORDS = 32;

/** MRQC field enables: TCP/IPv4, IPv4, IPv6, TCP/IPv6, UDP/IPv4, UDP/IPv6 (bits 16, 17, 20 to 23). */
export const RSS_FIELDS = (1 << 16) | (1 << 17) | (1 << 20) | (1 << 21) | (1 << 22) | (1 << 23);

/** The redirection table as 32 words: the 128 entries name the queues in turn. */
export function redirectionTable(queues: number): Uint32Array {
  const bytes = Uint8Array.from({ length: RETA_WORDS * 4 }, (_, entry) => entry % queues);
  return new Uint32Array(bytes.buffer);
}
