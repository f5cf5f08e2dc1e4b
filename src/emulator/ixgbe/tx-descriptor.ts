/**
 * Transmit descriptors (7.2.3.2): four 32-bit words.
 *
 *     word  data (advanced)             context                          legacy
 *     0     buffer address 31:0         IPLEN 8:0, MACLEN 15:9,          buffer address 31:0
 *                                       VLAN 31:16
 *     1     buffer address 63:32        FCoE, IPsec                      buffer address 63:32
 *     2     DTALEN 15:0, MAC 19:18,     TUCMD 19:9 (IPV4 10, L4T 12:11), length 15:0, CSO 23:16,
 *           DTYP 23:20, DCMD 31:24      DTYP 23:20, DEXT 29              command 31:24
 *     3     STA 3:0, IDX 6:4, CC 7,     IDX 6:4, L4LEN 15:8,             STA 3:0, CSS 15:8,
 *           POPTS 13:8, PAYLEN 31:14    MSS 31:16                        VLAN 31:16
 */

export const DTYP_SHIFT = 20;
export const DTYP_CONTEXT = 2;
export const DTYP_DATA = 3;
export const EOP = 1 << 24;
export const IFCS = 1 << 25;
export const IC = 1 << 26;
export const RS = 1 << 27;
export const DEXT = 1 << 29;
export const VLE = 1 << 30;
export const TSE = 1 << 31;
export const DD = 1 << 0;
export const POPTS_IXSM = 1 << 8;
export const POPTS_TXSM = 1 << 9;
export const POPTS = 0x3f << 8;
/** Word 2 of a descriptor that needs nothing done: advanced data, EOP, IFCS, and no VLE or TSE. RS is free. */
export const PLAIN_MASK = DEXT | EOP | IFCS | VLE | TSE | (0xf << DTYP_SHIFT);
export const PLAIN = DEXT | EOP | IFCS | (DTYP_DATA << DTYP_SHIFT);

export function isContext(command: number): boolean {
  return (command & DEXT) !== 0 && ((command >>> DTYP_SHIFT) & 0xf) === DTYP_CONTEXT;
}

export function isData(command: number): boolean {
  return ((command >>> DTYP_SHIFT) & 0xf) === DTYP_DATA;
}
