/**
 * Numbers and structures of the kernel's AF_XDP interface.
 * Specification: linux/if_xdp.h, linux/bpf.h, linux/if_packet.h; Documentation/networking/af_xdp.rst.
 */

export const AF_XDP = 44;
export const SOL_XDP = 283;

/** Options of an AF_XDP socket. */
export const Option = {
  MMAP_OFFSETS: 1,
  RX_RING: 2,
  TX_RING: 3,
  UMEM_REG: 4,
  UMEM_FILL_RING: 5,
  UMEM_COMPLETION_RING: 6,
  STATISTICS: 7,
  /** Flags of a bound socket. */
  OPTIONS: 8,
  /** Frames that one wake-up sends in copy mode; 32 on kernels that do not know it. */
  MAX_TX_SKB_BUDGET: 9,
} as const;

/** Where mmap(2) finds each ring. */
export const PageOffset = {
  RX: 0,
  TX: 0x8000_0000,
  FILL: 0x1_0000_0000,
  COMPLETION: 0x1_8000_0000,
} as const;

/** Bytes of `struct xdp_mmap_offsets`: four times producer, consumer, descriptors, flags, 8 bytes each. */
export const MMAP_OFFSETS_BYTES = 128;

/** Bytes that the kernel keeps free in front of each received frame (XDP_PACKET_HEADROOM). */
export const KERNEL_HEADROOM = 256;

/** Buffers may begin anywhere in the memory (`xdp_umem_reg.flags`). */
const UMEM_UNALIGNED = 1;

/** `sockaddr_xdp.sxdp_flags`. */
const BIND_COPY = 1 << 1;
const BIND_ZEROCOPY = 1 << 2;
const BIND_NEED_WAKEUP = 1 << 3;

/** Flag of the option OPTIONS: the queue's driver reads and writes the memory itself. */
export const OPTIONS_ZEROCOPY = 1;

/**
 * Whether the kernel copies each frame, or the interface's driver has its hardware read and write the buffers. `auto` as a wish:
 * zero-copy where that is possible.
 */
export type XdpMode = 'copy' | 'zero-copy';
const BIND_FLAGS = { auto: 0, 'zero-copy': BIND_ZEROCOPY, copy: BIND_COPY } as const;

/** Flag of a ring: the kernel sleeps until it is called. */
export const RING_NEED_WAKEUP = 1;

/** `struct xdp_umem_reg`, 32 bytes. */
export function umemReg(
  address: bigint,
  sizeBytes: number,
  chunkBytes: number,
  headroom: number,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, address, true);
  view.setBigUint64(8, BigInt(sizeBytes), true);
  view.setUint32(16, chunkBytes, true);
  view.setUint32(20, headroom, true);
  view.setUint32(24, UMEM_UNALIGNED, true);
  return new Uint8Array(view.buffer);
}

/** `struct sockaddr_xdp`, 16 bytes: with wake-ups. Without a mode the kernel takes zero-copy where it can, else copies. */
export function socketAddress(interfaceIndex: number, queue: number, mode: 'auto' | XdpMode): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint16(0, AF_XDP, true);
  view.setUint16(2, BIND_FLAGS[mode] | BIND_NEED_WAKEUP, true);
  view.setUint32(4, interfaceIndex, true);
  view.setUint32(8, queue, true);
  return new Uint8Array(view.buffer);
}

/** `struct xdp_statistics`. */
export interface XdpStatistics {
  /** Frames dropped: too long for a buffer, or no buffer in the fill ring. */
  readonly rxDropped: number;
  readonly txInvalid: number;
  readonly rxRingFull: number;
  /** How often the fill ring was empty. */
  readonly fillRingEmpty: number;
}

export const STATISTICS_BYTES = 48;

/** Reads what the option STATISTICS gave. */
export function parseStatistics(bytes: Uint8Array): XdpStatistics {
  const view = new DataView(bytes.buffer, bytes.byteOffset, STATISTICS_BYTES);
  const at = (index: number): number => Number(view.getBigUint64(8 * index, true));
  return { rxDropped: at(0), txInvalid: at(2), rxRingFull: at(3), fillRingEmpty: at(4) };
}
