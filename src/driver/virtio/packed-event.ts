/** Event suppression of packed rings (VIRTIO 1.2, 2.8.10). */
import { LAYOUT } from './layout.js';

const { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE } = LAYOUT;
const { EVENT_OFFSET_MASK, EVENT_WRAP_SHIFT, IDX_MASK, WORD_SHIFT, FLAGS, PACKED_BOTH } = LAYOUT;

/**
 * Whether the other side wants to be told, by its word: always, never, or once a certain place is passed.
 * @param place next to be filled, in a lap with this wrap counter; `count` places were filled since it was asked last
 */
export function isEventWanted(
  word: number,
  place: number,
  wrap: number,
  count: number,
  size: number,
): boolean {
  const wish = (word >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
  if (wish === EVENT_DISABLE) return false;
  if (wish === EVENT_ENABLE) return true;
  return placesSince(word, place, wrap, size) < count;
}

/**
 * Whether the other side, which asked to be told at a certain place, has used that place already: it asked before it went on, and
 * nothing that comes would be told to it. QEMU's network device does so, where its own network was full for a while.
 * @param descriptors of the ring; `place` and `wrap` as for `isEventWanted`
 */
export function isPassed(
  word: number,
  place: number,
  wrap: number,
  size: number,
  descriptors: Int32Array,
): boolean {
  const wish = (word >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
  if (wish === EVENT_DISABLE || wish === EVENT_ENABLE) return false;
  const asked = word & EVENT_OFFSET_MASK;
  if (asked >= size || placesSince(word, place, wrap, size) >= size) return false;
  const used = ((word >>> EVENT_WRAP_SHIFT) & 1) === 1 ? PACKED_BOTH : 0;
  return (descriptors[(asked << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === used;
}

/** Places that were filled after the one asked for, in this lap or in the one before; much more than a ring has for one to come. */
function placesSince(word: number, place: number, wrap: number, size: number): number {
  const isThisLap = ((word >>> EVENT_WRAP_SHIFT) & 1) === wrap;
  return (place - (word & EVENT_OFFSET_MASK) - 1 + (isThisLap ? 0 : size)) & IDX_MASK;
}
