/**
 * Registers of the Intel 82574 (datasheet 10.2), as far as the driver uses them.
 * Byte offsets as printed; RW read-write, RO read-only, WO write-only, RC cleared by reading, SC clears itself.
 */

// General (10.2.2)
export * from '../intel/gigabit-registers.js';

/** Extended Device Control, RW (10.2.2.5). */
export const CTRL_EXT = 0x0018;
/** Reserved; Linux sets bit 22 and clears 23 in 82573 and 82574. */
export const CTRL_EXT_22 = 1 << 22;
export const CTRL_EXT_23 = 1 << 23;
/** An MSI-X interrupt that fires masks the causes of IAM. */
export const CTRL_EXT_EIAME = 1 << 24;
/** Writing to the interrupt mask clears the MSI-X pending bits. */
export const CTRL_EXT_PBA_CLR = (1 << 31) >>> 0;

/** Extended Configuration Control, RW (10.2.2.13). */
export const EXTCNF_CTRL = 0x0f00;
/** Software owns the PHY's wires: sticks when written unless the hardware or its firmware has them. */
export const EXTCNF_CTRL_MDIO_SW = 1 << 5;

// PCIe (10.2.3)
/** GIO Control, RW. */
export const GCR = 0x5b00;
export const GCR_22 = 1 << 22;
/** GIO Control 2, RW. */
export const GCR2 = 0x5b64;
export const GCR2_0 = 1 << 0;

// Interrupts (10.2.4)
/** Interrupt Cause, RC and writing 1 clears (10.2.4.1). */
export const ICR = 0x00c0;
/** Interrupt Throttling, RW (10.2.4.2): least interval between two interrupts, in 256 ns; 0 is none. */
export const ITR = 0x00c4;
export const ITR_MAX = 0xffff;
export const ITR_UNIT_NS = 256;
/** Extended Interrupt Throttling, RW: the same for each vector of MSI-X. */
export const eitr = (vector: number): number => 0x00e8 + 4 * vector;
/** Interrupt Mask Set/Read, RW (10.2.4.4). Writing 0 masks nothing: use IMC. */
export const IMS = 0x00d0;
/** Interrupt Mask Clear, WO (10.2.4.5). */
export const IMC = 0x00d8;
/** Extended Interrupt Auto Clear, RW (10.2.4.6): causes that MSI-X acknowledges when it fires. Same bits as ICR. */
export const EIAC = 0x00dc;
/** Interrupt Acknowledge Auto Mask, RW (10.2.4.7). */
export const IAM = 0x00e0;
/** Interrupt Vector Allocation, RW (10.2.4.9): four bits a cause, vector 2:0 and valid 3. Receive queues, transmit queues, others. */
export const IVAR = 0x00e4;
export const IVAR_VALID = 1 << 3;
export const ivarRxShift = (queue: number): number => 4 * queue;
/** Causes: a receive queue's interrupt in MSI-X mode, queue 0 in bit 20 (7.4). */
export const causeRx = (queue: number): number => 1 << (20 + queue);
/** Causes without MSI-X: receive timer (a packet was written back), receiver overrun, descriptors run low. */
export const CAUSE_RXT0 = 1 << 7;
export const CAUSE_RXO = 1 << 6;
export const CAUSE_RXDMT0 = 1 << 4;

// Receive (10.2.5)
/** Buffer size, 17:16: 0 is 2048 bytes, 1 is 1024, 2 is 512, 3 is 256; with BSEX 16 times as many. */
export const RCTL_BSIZE_SHIFT = 16;
export const RCTL_BSEX = 1 << 25;
/** Buffer size in KiB, 30:27, which takes the place of BSIZE where it is not 0. */
export const RCTL_FLXBUF_SHIFT = 27;
/** Receive Filter Control, RW (10.2.5.22). EXSTEN: extended receive descriptors. */
export const RFCTL = 0x5008;
/** iSCSI and NFS filters off. */
export const RFCTL_ISCSI_DIS = 1 << 0;
export const RFCTL_NFSW_DIS = 1 << 6;
export const RFCTL_NFSR_DIS = 1 << 7;
export const RFCTL_ACK_DIS = 1 << 12;
export const RFCTL_EXSTEN = 1 << 15;
/** Receive descriptor base, length, head, tail and control per queue, RW (10.2.5.5 to 10.2.5.11). */
export const rdbal = (queue: number): number => 0x2800 + 0x100 * queue;
export const rdt = (queue: number): number => 0x2818 + 0x100 * queue;
/** Interrupt delay timers: 0, so that write-backs are not held back. */
export const RDTR = 0x2820;
export const RADV = 0x282c;
/** Prefetch 5:0, host 13:8 and write-back 21:16 thresholds; GRAN 24: in descriptors. */
export const rxdctl = (queue: number): number => 0x2828 + 0x100 * queue;
export const XDCTL_GRAN = 1 << 24;
/** Entries of RAL and RAH. */
export const RECEIVE_ADDRESSES = 16;
/** MRQC 1: RSS over two queues; the hash's fields from bit 16 on: TCP/IPv4, IPv4, TCP/IPv6, IPv6 (20). */
export const MRQC_RSS = 1;
export const MRQC_FIELDS = (1 << 16) | (1 << 17) | (1 << 18) | (1 << 20);
/** Words of the redirection table, and the bit of an entry that is the queue. */
export const RETA_WORDS = 32;
export const RETA_QUEUE_SHIFT = 7;

// Transmit (10.2.6)
/** Collision distance, bits 21:12; 63 in full duplex. */
export const TCTL_COLD_SHIFT = 12;
export const TCTL_COLD_MASK = 0x3ff << 12;
/** Transmit descriptor base, length, head, tail and control per queue, RW. */
export const tdbal = (queue: number): number => 0x3800 + 0x100 * queue;
export const tdh = (queue: number): number => 0x3810 + 0x100 * queue;
export const tdt = (queue: number): number => 0x3818 + 0x100 * queue;
/** Thresholds as in RXDCTL; bit 22 is to be 1. */
export const txdctl = (queue: number): number => 0x3828 + 0x100 * queue;
export const TXDCTL_22 = 1 << 22;
/** Transmit Arbitration Count, RW. ENABLE: the queue takes part. */
export const tarc = (queue: number): number => 0x3840 + 0x100 * queue;
export const TARC_ENABLE = 1 << 10;
/** 30:27 are to be 0 and 26 is to be 1 in queue 0's (Linux, for 82574). */
export const TARC_30_27 = 0xf << 27;
export const TARC_26 = 1 << 26;

// Statistics, RC (10.2.7)
/** Total octets and packets transmitted. */
export const TOTL = 0x40c8;
export const TOTH = 0x40cc;
export const TPT = 0x40d4;
/** TCP segmentation contexts that failed; interrupts. */
export const TSCTFC = 0x40fc;
export const IAC = 0x4100;
