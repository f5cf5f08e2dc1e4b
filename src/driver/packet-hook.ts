/**
 * Sees every packet in place: `packet` is its index in the pool (`pool.bytes(packet)`). Returns the number of bytes to
 * send: `lengthBytes`, or another where it changed the length; 0 drops the packet. A length that no hardware can send
 * drops it as well, and counts in `txErrors`.
 */
export type PacketHook = (packet: number, lengthBytes: number) => number;
