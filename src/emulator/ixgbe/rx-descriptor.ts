/**
 * Receive descriptors (7.1.5, 7.1.6): four 32-bit words.
 *
 *     word  as software gives it        advanced write-back                    legacy write-back
 *     0     buffer address 31:0         RSS type 3:0, packet type 16:4         unchanged
 *     1     buffer address 63:32        RSS hash, or fragment checksum         unchanged
 *     2     header address, 0           status 19:0, errors 31:20              length 15:0, checksum 31:16
 *     3     header address, 0           length 15:0, VLAN tag 31:16            status 7:0, errors 15:8, VLAN 31:16
 */

/** Status bits, the same in both forms, and advanced error bits. */
export const DD = 1 << 0;
export const EOP = 1 << 1;
export const VP = 1 << 3;
export const L4CS = 1 << 5;
export const IPCS = 1 << 6;
export const PIF = 1 << 7;
export const L4E = 1 << 30;
export const IPE = 1 << 31;
export const LEGACY_TCPE = 1 << 14;
export const LEGACY_IPE = 1 << 15;

/** Legacy descriptors have 8 bits of status and, above them, 8 bits of errors (7.1.5). */
export function toLegacy(status: number): number {
  return (status & 0xff) | ((status & L4E) !== 0 ? LEGACY_TCPE : 0) | ((status & IPE) !== 0 ? LEGACY_IPE : 0);
}
