/** Event suppression of packed rings (VIRTIO 1.2, 2.8.10). */
import { LAYOUT } from './layout.js';

const { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE } = LAYOUT;
const { EVENT_OFFSET_MASK, EVENT_WRAP_SHIFT, WORD_SHIFT, FLAGS, PACKED_BOTH } = LAYOUT;

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
  return (word & EVENT_OFFSET_MASK) < size && placesSince(word, place, wrap, size) < count;
}

/**
 * Whether the other side, which asked to be told at a certain place, has used that place already: it went on past it without asking anew,
 * so no later packet would come to its wish. QEMU's network device does so, where its own network was full for a while.
 * @param descriptors of the ring; `place`, `wrap` and `count` as for `isEventWanted`
 */
export function isPassed(
  word: number,
  place: number,
  wrap: number,
  count: number,
  size: number,
  descriptors: Int32Array,
): boolean {
  const wish = (word >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
  if (wish === EVENT_DISABLE || wish === EVENT_ENABLE) return false;
  const asked = word & EVENT_OFFSET_MASK;
  if (asked >= size) return false;
  const since = placesSince(word, place, wrap, size);
  // A place that was filled again had been used.
  if (since >= size) return since < size + count;
  const used = ((word >>> EVENT_WRAP_SHIFT) & 1) === 1 ? PACKED_BOTH : 0;
  return (descriptors[(asked << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === used;
}

/** Places that were filled after the one asked for, of two laps: at least a ring's also for one that is still to come. */
function placesSince(word: number, place: number, wrap: number, size: number): number {
  const isThisLap = ((word >>> EVENT_WRAP_SHIFT) & 1) === wrap;
  const since = place - (word & EVENT_OFFSET_MASK) - 1 + (isThisLap ? 0 : size);
  return since < 0 ? since + 2 * size : since;
}
