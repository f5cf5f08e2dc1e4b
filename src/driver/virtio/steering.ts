/**
 * Which queue a received packet goes to (VIRTIO 1.2, 5.1.6.5.6 and 5.1.6.5.7). With RSS the driver says it: a hash of
 * addresses and ports looks the queue up in a table. Without, a device sends a flow's packets to the pair that its last packet
 * was sent from, and unknown flows where it likes.
 */
import { RSS_KEY, SYMMETRIC_RSS_KEY } from '../rss-key.js';

/** The three kinds of packets that are hashed, over IPv4 and IPv6: addresses alone, with TCP's ports, with UDP's. */
const HASH_TYPES = 0x3f;
/** 5.1.4.1: no device that offers RSS may have less of these. */
export const RSS_LEAST_KEY_BYTES: number = RSS_KEY.length;
export const RSS_LEAST_TABLE = 128;

/** What the device's configuration says of RSS. */
export interface RssLimits {
  readonly keyBytes: number;
  readonly tableLength: number;
  readonly hashTypes: number;
}

/** The data of the command: `struct virtio_net_rss_config`. The table's entries name the pairs in turn. */
export function rssConfig({ hashTypes }: RssLimits, pairs: number, symmetric: boolean): Uint8Array {
  const key = symmetric ? SYMMETRIC_RSS_KEY : RSS_KEY;
  const bytes = new Uint8Array(8 + 2 * RSS_LEAST_TABLE + 3 + key.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, hashTypes & HASH_TYPES, true);
  view.setUint16(4, RSS_LEAST_TABLE - 1, true);
  // Packets without a hash go to the first pair.
  view.setUint16(6, 0, true);
  for (let i = 0; i < RSS_LEAST_TABLE; i++) view.setUint16(8 + 2 * i, i % pairs, true);
  const behind = 8 + 2 * RSS_LEAST_TABLE;
  view.setUint16(behind, pairs, true);
  view.setUint8(behind + 2, key.length);
  bytes.set(key, behind + 3);
  return bytes;
}
