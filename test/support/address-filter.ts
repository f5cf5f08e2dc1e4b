/** The address filter of Intel's gigabit cards, from registers (82576 datasheet 8.10.1, 8.10.18 to 8.10.20; 82574 10.2.5). */

const RCTL_UPE = 1 << 3;
const RCTL_MPE = 1 << 4;
const RCTL_BAM = 1 << 15;

export interface FilterRegisters {
  readonly RCTL: number;
  readonly MTA: number;
  readonly RAL0: number;
  readonly RAH0: number;
}

/** Whether the filter lets a frame through. */
export function passesFilter(
  frame: Uint8Array,
  get: (register: number) => number,
  { RCTL, MTA, RAL0, RAH0 }: FilterRegisters,
): boolean {
  const rctl = get(RCTL);
  const to = [...frame.subarray(0, 6)];
  if (to.every((byte) => byte === 0xff)) return (rctl & RCTL_BAM) !== 0;
  if ((to[0]! & 1) !== 0) {
    const hash = ((to[5]! << 4) | (to[4]! >>> 4)) & 0xfff;
    const isInTable = ((get(MTA + 4 * (hash >>> 5)) >>> (hash & 31)) & 1) === 1;
    return isInTable || (rctl & RCTL_MPE) !== 0;
  }
  const [low, high] = [get(RAL0), get(RAH0)];
  const own = [low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8].map((byte) => byte & 0xff);
  const isOwn = high >>> 31 === 1 && own.every((byte, i) => byte === to[i]);
  return isOwn || (rctl & RCTL_UPE) !== 0;
}
