/**
 * Advanced descriptors, the same 16 bytes in the 82576, 82580, I350 and the 82599 family.
 * Sources: 82576 datasheet 7.1.5 and 7.2.2; 82599 datasheet 7.1.6 and 7.2.3.
 *
 * A ring is read as an Int32Array, four words a descriptor, little-endian:
 *
 *     receive, as the driver writes it ("read format")
 *       0  packet buffer address 31:0
 *       1  packet buffer address 63:32
 *       2  header buffer address 31:0; its bit 0 is where DD will appear, so it is written as 0
 *       3  header buffer address 63:32 (not used with one buffer a packet)
 *     receive, as the hardware leaves it ("write-back format")
 *       0  RSS type 3:0, packet type 16:4 (82599) or 15:4 (82576), header length and split above
 *       1  RSS hash, or fragment checksum 31:16 and IP identification 15:0
 *       2  status 19:0 (DD 0, EOP 1, VP 3, ...), errors 31:20
 *       3  length 15:0, VLAN tag 31:16
 *     transmit data
 *       0  buffer address 31:0
 *       1  buffer address 63:32
 *       2  DTALEN 15:0, DTYP 23:20, DCMD 31:24
 *       3  STA 3:0 (DD 0), IDX 6:4, CC 7, POPTS 13:8, PAYLEN 31:14
 *     transmit context: sets what the data descriptors after it refer to
 *       0  IPLEN 8:0, MACLEN 15:9, VLAN tag 31:16
 *       1  0 (IPsec)
 *       2  TUCMD 19:9 (IPV4 bit 10, L4T 12:11), DTYP 23:20, DEXT 29
 *       3  IDX 6:4, L4LEN 15:8, MSS 31:16
 */

export const DESCRIPTOR_BYTES = 16;
/** log2 of the words in a descriptor. */
export const DESCRIPTOR_WORD_SHIFT = 2;

// Receive, write-back format.
export const RX_STATUS_WORD = 2;
export const RX_LENGTH_WORD = 3;
/** Descriptor done: the hardware is finished with it. */
export const RX_DD = 1 << 0;
/** End of packet: the last (with one buffer a packet: the only) descriptor of a frame. */
export const RX_EOP = 1 << 1;

/** The tag was taken out of the frame. */
export const RX_VP = 1 << 3;
/** TCP or UDP checksum was checked. */
export const RX_L4CS = 1 << 5;
/** IPv4 header checksum was checked. */
export const RX_IPCS = 1 << 6;
/** Word 0: which fields the RSS hash covers; 0 means no hash. */
export const RX_RSS_TYPE_MASK = 0xf;

// Transmit data.
export const TX_COMMAND_WORD = 2;
export const TX_STATUS_WORD = 3;
export const TX_DTYP_MASK = 0xf << 20;
/** DTYP 0011b: advanced transmit data. */
export const TX_DTYP_DATA = 3 << 20;
/** End of packet. */
export const TX_EOP = 1 << 24;
/** Insert the FCS. */
export const TX_IFCS = 1 << 25;
/** Report status: the hardware sets DD in this descriptor after it has fetched the packet. */
export const TX_RS = 1 << 27;
/** Descriptor extension: this is an advanced descriptor. */
export const TX_DEXT = 1 << 29;
export const TX_DD = 1 << 0;
/** VLAN enable: insert the context's tag. */
export const TX_VLE = 1 << 30;
/** Check context: the data descriptor refers to a context (82599 datasheet 7.2.3.2.4). */
export const TX_CC = 1 << 7;
/** POPTS: insert the IPv4 checksum, the TCP or UDP checksum. */
export const TX_IXSM = 1 << 8;
export const TX_TXSM = 1 << 9;
/** DTYP 0010b: advanced transmit context. */
export const TX_DTYP_CONTEXT = 2 << 20;
/** TUCMD: the packet is IPv4; its L4 type (0 UDP, 1 TCP). */
export const TX_TUCMD_IPV4 = 1 << 10;
export const TX_TUCMD_TCP = 1 << 11;
export const TX_PAYLEN_SHIFT = 14;
/**
 * Word 2 of a legacy descriptor (DEXT 0) of length 0: the hardware transmits nothing and goes on to the next. "Null
 * descriptors" may stand between packets and need EOP (82599 datasheet 7.2.3.2.2, 82576 datasheet 7.2.2.1). The text
 * does not say that RS reports them as well; assumed, since the write-back does not depend on the length.
 */
export const TX_NULL: number = TX_EOP | TX_IFCS;

/**
 * Shortest frame, without FCS, that the hardware pads to the Ethernet minimum (82576 datasheet 8.12.1, TCTL.PSP;
 * the Linux drivers pad to 17 bytes in software for this reason).
 */
export const TX_MIN_FRAME_BYTES = 17;

/** Slots in a group of the transmit ring, of which only the last reports; a ring's size is a multiple of it. */
export const GROUP = 32;

/**
 * What the packet loops use of the above, and where they keep their state, as one object: a loop is compiled from its
 * source text and cannot see this module (see instantiate.ts).
 */
export const LAYOUT = Object.freeze({
  // Words and bits of descriptors.
  WORD_SHIFT: 2,
  RX_STATUS: RX_STATUS_WORD,
  RX_LENGTH: RX_LENGTH_WORD,
  LENGTH_MASK: 0xffff,
  TX_COMMAND: TX_COMMAND_WORD,
  TX_STATUS: TX_STATUS_WORD,
  PAYLEN_SHIFT: TX_PAYLEN_SHIFT,
  DD: RX_DD,
  /** One buffer a packet: a good frame is done and ends in its first descriptor. */
  DONE: RX_DD | RX_EOP,
  NULL: TX_NULL,
  GROUP,
  /** `(slot in group + 1) & GROUP` is GROUP on the last slot, 0 on the others; shifted, it is the bit RS. */
  RS_SHIFT: Math.log2(TX_RS / GROUP),

  // Elements of the queues' and the pipe's state: the next slot to use, the first that has not been given back.
  NEXT: 0,
  CLEAN: 1,
  /** Transmit: index in the ring of the word whose DD tells that the group at CLEAN is done. */
  REPORT: 2,
  /** Transmit: 1 from the queue's end on. */
  GONE: 3,
  /** Transmit, in a ring that another thread has: 1 while the device rests. */
  RESTS: 4,
  /** Receive: what a good frame's status is under the mask, `DD | EOP`; HOLD leaves every packet to the long way. */
  GOOD: 2,
  HOLD: -1,
  /** Receive, in place of GOOD's value: a forwarder's hook runs, and the next slot is its packet's. */
  BUSY: -2,
  /** Pipe: 1 between a fragment without EOP and the end of its frame, CLOSED from the end of the pipe on. */
  SKIPPING: 2,
  CLOSED: 2,
  /** Pipe: 1 while the hook runs. */
  HOOKED: 3,

  // Elements of the counters. The first three are the same for receive and transmit.
  PACKETS: 0,
  BYTES: 1,
  ERRORS: 2,
  NO_BUFFER: 3,
  TOO_LONG: 4,
  DAMAGED: 5,
} as const);

export type Layout = typeof LAYOUT;
