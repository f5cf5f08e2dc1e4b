/** Which buffers AF_XDP takes, and how long a frame in them may be. */
import { NicError } from '../../errors.js';
import { HEADROOM_DEFAULT, type PacketPool } from '../../hugepage/packet-pool.js';
import type { OpenOptions } from '../device.js';
import { KERNEL_HEADROOM } from './uapi.js';

/** Ethernet header; with two VLAN tags. */
export const HEADER_BYTES = 14;
export const L2_BYTES = 22;
const VLAN_BYTES = 4;
const LARGEST_BUFFER = 4096;
const BUFFER_SIZES = [2048, LARGEST_BUFFER];

/** Largest MTU of an interface whose frames, with a VLAN tag, fit the largest buffers. */
export const LARGEST_MTU = LARGEST_BUFFER - KERNEL_HEADROOM - HEADER_BYTES - VLAN_BYTES;

/** What the kernel must leave free in front of a frame beyond its own 256 bytes. */
export function umemHeadroom(pool: PacketPool): number {
  return Math.max(0, pool.headroomBytes - KERNEL_HEADROOM);
}

/** Longest frame that the kernel puts into a buffer of the pool. */
export function frameRoom(bufferSizeBytes: number, headroomBytes: number): number {
  return bufferSizeBytes - Math.max(KERNEL_HEADROOM, headroomBytes);
}

/** An own pool gets buffers that hold what the interface's MTU lets through. */
export function withBuffers(options: OpenOptions, mtu: number): OpenOptions {
  const { pool, bufferSizeBytes, headroomBytes = HEADROOM_DEFAULT } = options;
  if (pool !== undefined || bufferSizeBytes !== undefined) return options;
  const frameBytes =
    (options.mtu ?? mtu) + (options.mtu === undefined ? HEADER_BYTES + VLAN_BYTES : L2_BYTES);
  const large =
    frameBytes > frameRoom(2048, headroomBytes) && frameBytes <= frameRoom(LARGEST_BUFFER, headroomBytes);
  return large ? { ...options, bufferSizeBytes: LARGEST_BUFFER } : options;
}

/** @throws NicError `BAD_OPTION` where the kernel cannot use the buffers, or where frames of the interface do not fit */
export function checkBuffers(
  address: string,
  pool: PacketPool,
  interfaceMtu: number,
  mtu: number | undefined,
): void {
  const { bufferSizeBytes, headroomBytes } = pool;
  if (!BUFFER_SIZES.includes(bufferSizeBytes)) {
    throw new NicError('BAD_OPTION', `${address} cannot use buffers of ${bufferSizeBytes} bytes`, {
      path: address,
      hint: `AF_XDP takes buffers of ${BUFFER_SIZES.join(' or ')} bytes: set bufferSizeBytes.`,
    });
  }
  const room = frameRoom(bufferSizeBytes, headroomBytes);
  const wanted = mtu === undefined ? interfaceMtu + HEADER_BYTES : mtu + L2_BYTES;
  if (wanted <= room) return;
  const largest = frameRoom(LARGEST_BUFFER, headroomBytes);
  throw new NicError(
    'BAD_OPTION',
    `${address} has frames of up to ${wanted} bytes, and a buffer of ${bufferSizeBytes} bytes holds ${room} of a frame`,
    {
      path: address,
      hint:
        wanted <= largest
          ? `Set bufferSizeBytes to ${LARGEST_BUFFER}, or a lower MTU.`
          : `Lower its MTU: ip link set dev NAME mtu ${largest - L2_BYTES}`,
    },
  );
}
