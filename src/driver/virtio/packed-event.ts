/** Event suppression of packed rings (VIRTIO 1.2, 2.8.10). */
import { LAYOUT } from './layout.js';

const { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE } = LAYOUT;
const { EVENT_OFFSET_MASK, EVENT_WRAP_SHIFT, WORD_SHIFT, FLAGS, PACKED_BOTH } = LAYOUT;

/**
 * Whether the other side wants to be told, by its word: always, never, or once a certain place is passed.
 * @param place next to be filled, in a lap with this wrap counter; `count` places were filled since it was asked last
 * @param descriptors of a ring that is sent from: it is told as well where it has used the place that it asked for. It went on past it
 *   without asking anew, so no later packet would come to its wish. QEMU's network device does so, where its own network was full for a
 *   while.
 */
export function isEventWanted(
  word: number,
  place: number,
  wrap: number,
  count: number,
  size: number,
  descriptors?: Int32Array,
): boolean {
  const wish = (word >>> EVENT_FLAGS_SHIFT) & EVENT_FLAGS_MASK;
  if (wish === EVENT_DISABLE) return false;
  if (wish === EVENT_ENABLE) return true;
  const asked = word & EVENT_OFFSET_MASK;
  const askedWrap = (word >>> EVENT_WRAP_SHIFT) & 1;
  if (asked >= size) return false;
  // Places that were filled after it, of two laps: at least a ring's also for one that is still to come.
  let since = place - asked - 1 + (askedWrap === wrap ? 0 : size);
  if (since < 0) since += 2 * size;
  if (since < count || descriptors === undefined) return since < count;
  // A place that was filled again had been used.
  if (since >= size) return since < size + count;
  return (descriptors[(asked << WORD_SHIFT) + FLAGS]! & PACKED_BOTH) === (askedWrap === 1 ? PACKED_BOTH : 0);
}
