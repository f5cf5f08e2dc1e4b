/**
 * Registers of the Intel 82576 (datasheet 8.1 and after), as far as the driver uses them.
 * Byte offsets as printed; RW read-write, RO read-only, WO write-only, RC cleared by reading, SC clears itself.
 */

// General (8.2)
export * from '../intel/gigabit-registers.js';

/** Bits of STATUS: port number of this function. */
export const STATUS_LAN_ID_SHIFT = 2;
export const STATUS_LAN_ID_MASK = 3;

// Semaphores (8.16)
/** Software Semaphore, RW (8.16.1). */
export const SWSM = 0x5b50;
/** Software-Firmware Synchronization, RW (8.16.3): one bit a resource, the firmware's 16 higher. */
export const SW_FW_SYNC = 0x5b5c;
export const SW_FW_SYNC_PHY0 = 1 << 1;
export const SW_FW_SYNC_FIRMWARE_SHIFT = 16;

// Interrupts (8.8). One bit a vector in EICS to EIAM.
/** Extended Interrupt Cause Set, WO (8.8.2). */
export const EICS = 0x1520;
/** Extended Interrupt Mask Set/Read, RW (8.8.3). Writing 0 masks nothing: use EIMC. */
export const EIMS = 0x1524;
/** Extended Interrupt Mask Clear, WO (8.8.4). */
export const EIMC = 0x1528;
/** Extended Interrupt Auto Clear, RW (8.8.5). */
export const EIAC = 0x152c;
/** Extended Interrupt Auto Mask, RW (8.8.6). */
export const EIAM = 0x1530;
/** Extended Interrupt Cause, RC (8.8.1). */
export const EICR = 0x1580;
/** Interrupt Cause, RC (8.8.9), and Interrupt Mask Clear, WO (8.8.12). */
export const ICR = 0x1500;
export const IMC = 0x150c;
/** Interrupt Throttle, RW (8.8), vectors 0 to 24: the least interval in bits 14:2, in microseconds. */
export const eitr = (vector: number): number => 0x1680 + 4 * vector;
export const EITR_SHIFT = 2;
export const EITR_MAX = 0x1fff;
/** General Purpose Interrupt Enable, RW (8.8.14). */
export const GPIE = 0x1514;
export const GPIE_NSICR = 1 << 0;
export const GPIE_MULTIPLE_MSIX = 1 << 4;
export const GPIE_EIAME = 1 << 30;
export const GPIE_PBA = (1 << 31) >>> 0;
/** Interrupt Vector Allocation, RW (8.8.15): queue q and q + 8 share a register, receive and transmit a half. */
export const ivar = (queue: number): number => 0x1700 + 4 * (queue & 7);
/** Bit position of a receive queue's entry. */
export const ivarRxShift = (queue: number): number => (queue < 8 ? 0 : 16);

// Receive (8.10)
/** Receive Long Packet Maximum Length, RW (8.10.5): bytes with FCS and tags, where RCTL.LPE is set. */
export const RLPML = 0x5004;
/** Receive descriptor base, length, head, tail and control per queue, RW (8.10.5 to 8.10.10). */
export const rdbal = (queue: number): number => 0xc000 + 0x40 * queue;
/** Split and Replication Receive Control (8.10.2). */
export const srrctl = (queue: number): number => 0xc00c + 0x40 * queue;
/** Packet buffer size in KiB, bits 6:0. */
export const SRRCTL_BSIZEPACKET_UNIT_BYTES = 1024;
/** DESCTYPE 001b: advanced, one buffer. */
export const SRRCTL_DESCTYPE_ADVANCED = 1 << 25;
/** Drop rather than block the other queues when this one has no descriptors. */
export const SRRCTL_DROP_EN = (1 << 31) >>> 0;
export const rdt = (queue: number): number => 0xc018 + 0x40 * queue;
export const rxdctl = (queue: number): number => 0xc028 + 0x40 * queue;
/** Prefetch, host and write-back thresholds: 5 bits each at 0, 8 and 16. */
export const RXDCTL_ENABLE = 1 << 25;
/** Receive Queue Drop Packet Count, RC (8.10.11). */
export const rqdpc = (queue: number): number => 0xc030 + 0x40 * queue;
/** MRQC.MRQE 010b: RSS over the queues of the redirection table. */
export const MRQC_RSS = 2;

// Transmit (8.12)
/** Transmit descriptor base, length, head, tail and control per queue, RW (8.12.8 to 8.12.14). */
export const tdbal = (queue: number): number => 0xe000 + 0x40 * queue;
export const tdh = (queue: number): number => 0xe010 + 0x40 * queue;
export const tdt = (queue: number): number => 0xe018 + 0x40 * queue;
export const txdctl = (queue: number): number => 0xe028 + 0x40 * queue;
export const TXDCTL_ENABLE = 1 << 25;
