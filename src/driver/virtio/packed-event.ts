/** Event suppression of packed rings (VIRTIO 1.2, 2.8.10). */
import { LAYOUT } from './layout.js';

const { EVENT_FLAGS_SHIFT, EVENT_FLAGS_MASK, EVENT_ENABLE, EVENT_DISABLE } = LAYOUT;
const { EVENT_OFFSET_MASK, EVENT_WRAP_SHIFT, IDX_MASK } = LAYOUT;

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
  const isThisLap = ((word >>> EVENT_WRAP_SHIFT) & 1) === wrap;
  const at = (word & EVENT_OFFSET_MASK) - (isThisLap ? 0 : size);
  return ((place - at - 1) & IDX_MASK) < count;
}
