/** Address filters that the Intel families share (82576 datasheet 8.10.13 to 8.10.15, 82599 datasheet 8.2.3.7). */
/** Words of the multicast table array: 4096 bits. */
export const MULTICAST_WORDS = 128;

/** RAL and RAH of an address, without Address Valid. */
export function receiveAddress(mac: Uint8Array): { low: number; high: number } {
  const words = new Uint32Array(2);
  new Uint8Array(words.buffer).set(mac);
  return { low: words[0]!, high: words[1]! };
}

/** The address in RAL and RAH, six bytes. */
export function macFromRegisters(low: number, high: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(low, high).buffer).slice(0, 6);
}

/** Bits 47:36 of the address as sent (MO = 0). */
export function multicastHash(group: Uint8Array): number {
  return ((group[4]! >>> 4) | (group[5]! << 4)) & 0xfff;
}

/** The multicast table for a set of groups: the upper 7 bits of the hash choose the word, the lower 5 the bit. */
export function multicastTable(groups: readonly Uint8Array[]): Uint32Array {
  const table = new Uint32Array(MULTICAST_WORDS);
  for (const mac of groups) {
    const hash = multicastHash(mac);
    table[hash >>> 5]! |= 1 << (hash & 31);
  }
  return table;
}
