/**
 * Registers, descriptors and frame header of the MU-5, a network card that nobody builds. Card and driver both read them
 * here: what is tested is the house around a family, not a second reading of a datasheet.
 *
 * Byte offsets; RW read-write, RO read-only, SC clears itself.
 */

/** RO. Reads all ones where the card was pulled out. */
export const ID = 0x00;
export const ID_VALUE = 0x4d55_0005;
/** RO: link up in bit 0, its speed in Mbit/s in bits 31:8. */
export const STATUS = 0x04;
export const STATUS_LINK_UP = 1 << 0;
export const STATUS_SPEED_SHIFT = 8;
/** RW. */
export const CONTROL = 0x08;
/** SC: every register to 0, every descriptor and all memory forgotten. */
export const CONTROL_RESET = 1 << 0;
export const CONTROL_RUN = 1 << 1;
/** RW: one bit a receive queue. The card clears the bit when it interrupts: one interrupt for each arming. */
export const INTERRUPTS = 0x0c;
/** RO: the station's own address, bytes 0 to 3 and 4 to 5, in the order of the wire. */
export const MAC_LOW = 0x10;
export const MAC_HIGH = 0x14;

/** The mailbox, RW: filters change some time after a command was written here, when ANSWER has its number. */
export const MAILBOX = 0x20;
export const MAILBOX_LOW = 0x24;
export const MAILBOX_HIGH = 0x28;
/** RO: number of the last command that was carried out, counted from 1. */
export const MAILBOX_ANSWER = 0x2c;
/** Commands. Each but NO_GROUPS and ALL_GROUPS takes data; the address filters take what is sent to these. */
export const Mail = { PROMISCUOUS: 1, MAC: 2, NO_GROUPS: 3, ADD_GROUP: 4, ALL_GROUPS: 5 } as const;

/** Where the buffers are, RW: descriptors name them by number. */
export const POOL_LOW = 0x40;
export const POOL_HIGH = 0x44;
export const POOL_SHIFT = 0x48;
export const POOL_HEADROOM = 0x4c;
export const POOL_BUFFERS = 0x50;
/** RW: longest frame; longer ones are cut. */
export const LONGEST = 0x54;
export const QUEUE_PAIRS = 0x58;

/** Rings of queue pair q, RW: I/O address and number of descriptors. */
export const rxRing = (q: number): number => 0x100 + 0x20 * q;
export const txRing = (q: number): number => 0x110 + 0x20 * q;
export const RING_HIGH = 0x4;
export const RING_SIZE = 0x8;
/** WO, one for each ring: there are new descriptors. */
export const RING_KICK = 0xc;

/** Queue pairs that the card has. */
export const MAX_QUEUE_PAIRS = 5;

/**
 * A descriptor, two 32-bit words. The driver writes number and length of a buffer, OWNED last; the card takes them in
 * order, and writes what is done over the ring in the order in which it is done: the buffer that comes back in a slot is
 * not always the one that the driver wrote there.
 *
 *     word 0   31:0  buffer number
 *     word 1   15:0  bytes, header included    31:16 flags
 */
export const DESCRIPTOR_WORDS = 2;
export const LENGTH_MASK = 0xffff;
/** The card's. */
export const OWNED = 1 << 16;
/** The card is done with it. */
export const DONE = 1 << 17;
/** Receive: damaged on the way; cut, since it did not fit. */
export const DAMAGED = 1 << 18;
export const CUT = 1 << 19;

/**
 * The header in front of each frame, three words at the end of the headroom: written by the card when it receives, by the
 * driver when it sends.
 *
 *     word 0   KIND_RX or KIND_TX
 *     word 1   bytes of the frame
 *     word 2   receive: a running number of the card's; transmit: the queue
 */
export const HEADER_BYTES = 12;
export const KIND_RX = 0x5258_5258;
export const KIND_TX = 0x5458_5458;

export const MIN_FRAME_BYTES = 33;
export const MAX_FRAME_BYTES = 9700;
