/**
 * Virtio over PCI and its network device: offsets, bits and commands, as VIRTIO 1.2 (OASIS, 1 July 2022) prints them.
 * Access modes are the driver's. All fields are little-endian.
 */

export const VIRTIO_VENDOR = 0x1af4;

// Vendor capability (4.1.4): bytes after the capability's header.
export const CAP_VENDOR_ID = 0x09;
export const CAP_LENGTH = 2;
export const CAP_TYPE = 3;
export const CAP_BAR = 4;
export const CAP_OFFSET = 8;
export const CAP_SIZE = 12;
/** Only in the notification capability: what `queue_notify_off` is multiplied by. */
export const CAP_NOTIFY_MULTIPLIER = 16;
export const CAP_BYTES = 16;
export const CAP_NOTIFY_BYTES = 20;

/** Types of structures (4.1.4). */
export const CAP_COMMON = 1;
export const CAP_NOTIFY = 2;
export const CAP_DEVICE = 4;

// Common configuration (4.1.4.3).
/** RW: which 32 feature bits `DEVICE_FEATURE` shows. */
export const DEVICE_FEATURE_SELECT = 0x00;
/** RO. */
export const DEVICE_FEATURE = 0x04;
/** RW. */
export const DRIVER_FEATURE_SELECT = 0x08;
/** RW. */
export const DRIVER_FEATURE = 0x0c;
/** RW, 16 bits: the vector of configuration changes; reads NO_VECTOR where the device could not take it. */
export const CONFIG_MSIX_VECTOR = 0x10;
/** RO, 16 bits. */
export const NUM_QUEUES = 0x12;
/** RW, 8 bits: writing 0 resets (2.4). */
export const DEVICE_STATUS = 0x14;
/** RO, 8 bits: changes with every change of the configuration. */
export const CONFIG_GENERATION = 0x15;
/** RW, 16 bits: which queue the fields below are about. */
export const QUEUE_SELECT = 0x16;
/** RW, 16 bits: elements; the driver may write a smaller number. 0 where there is no such queue. */
export const QUEUE_SIZE = 0x18;
/** RW, 16 bits. */
export const QUEUE_MSIX_VECTOR = 0x1a;
/** RW, 16 bits: 1 enables; cannot be cleared. */
export const QUEUE_ENABLE = 0x1c;
/** RO, 16 bits. */
export const QUEUE_NOTIFY_OFF = 0x1e;
/** RW, 64 bits each: the descriptor table or packed ring, and the areas that driver and device write. */
export const QUEUE_DESC = 0x20;
export const QUEUE_DRIVER = 0x28;
export const QUEUE_DEVICE = 0x30;
/** Bytes of the structure that are used here. */
export const COMMON_BYTES = 0x38;

export const NO_VECTOR = 0xffff;

// Device status (2.1).
export const STATUS_ACKNOWLEDGE = 1;
export const STATUS_DRIVER = 2;
export const STATUS_DRIVER_OK = 4;
export const STATUS_FEATURES_OK = 8;
export const STATUS_NEEDS_RESET = 0x40;
/** No device sets all bits: what a device that is gone answers. */
export const STATUS_GONE = 0xff;

/** Feature bits: of the network device (5.1.3), and those of every device (6). */
export const Feature = {
  /** The device computes checksums of sent packets. */
  CSUM: 0,
  /** Received packets may lack theirs; the header says so. */
  GUEST_CSUM: 1,
  MTU: 3,
  MAC: 5,
  /** A frame may come in several buffers. */
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  /** The device may ask the driver to tell the network where it is. */
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  /** Each side says from which position on it wants to be told (2.7.10, 2.8.10). */
  EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  /** A notification carries the queue's position (4.1.5.2). */
  NOTIFICATION_DATA: 38,
  /** The driver says which flows go to which queue. */
  RSS: 60,
  SPEED_DUPLEX: 63,
} as const;

// Configuration of the network device (5.1.4).
export const NET_MAC = 0;
export const NET_STATUS = 6;
export const NET_MAX_PAIRS = 8;
export const NET_MTU = 10;
export const NET_SPEED = 12;
export const NET_DUPLEX = 16;
export const NET_RSS_KEY_BYTES = 17;
export const NET_RSS_TABLE_LENGTH = 18;
export const NET_RSS_HASH_TYPES = 20;

export const NET_STATUS_LINK_UP = 1;
/** The driver is to announce itself, and to acknowledge that (5.1.6.5.4). */
export const NET_STATUS_ANNOUNCE = 2;
/** 5.1.4: speed and duplex that are not known. */
export const SPEED_UNKNOWN = 0xffff_ffff;
export const DUPLEX_FULL = 1;

/** Bytes in front of each frame: `struct virtio_net_hdr` with `num_buffers`, which VERSION_1 always has (5.1.6). */
export const NET_HEADER_BYTES = 12;
/** In the header, 8 bits. */
export const NET_FLAGS = 0;
/** The checksum has to be computed: from `csum_start` to the end, into the field at `csum_offset` behind it (16 bits each). */
export const NET_NEEDS_CSUM = 1;
/** It was checked. */
export const NET_DATA_VALID = 2;
export const NET_CSUM_START = 6;
export const NET_CSUM_OFFSET = 8;
/** In the header, 16 bits: in how many buffers the frame came. */
export const NET_NUM_BUFFERS = 10;

// Commands of the control queue (5.1.6.5): class and command.
export const CTRL_PROMISCUOUS = [0, 0] as const;
export const CTRL_ALL_MULTICAST = [0, 1] as const;
export const CTRL_MAC_TABLE_SET = [1, 0] as const;
export const CTRL_MAC_ADDR_SET = [1, 1] as const;
export const CTRL_ANNOUNCE_ACK = [3, 0] as const;
export const CTRL_PAIRS_SET = [4, 0] as const;
export const CTRL_RSS_SET = [4, 1] as const;
export const CTRL_OK = 0;

// Descriptors (2.7.5, 2.8.13).
export const DESC_NEXT = 1;
export const DESC_WRITE = 2;
/** `flags` of the available ring (2.7.6): the driver wants no interrupts. */
export const AVAIL_NO_INTERRUPT = 1;
