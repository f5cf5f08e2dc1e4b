/** Which buffers AF_XDP takes, and how long a frame in them may be. */
import { NicError } from '../../errors.js';
import type { PacketPool } from '../../hugepage/packet-pool.js';
import type { OpenOptions } from '../device.js';
import type { KernelInterface } from './kernel.js';
import { KERNEL_HEADROOM, type XdpMode } from './uapi.js';

type BufferUser = Pick<KernelInterface, 'kernelDriver' | 'features' | 'mtu'>;

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

/** Drivers whose hardware counts buffers in KiB: of 1792 bytes it uses 1024 in zero-copy mode, and drops longer frames. */
const KIB_BUFFERS = ['igb', 'igc', 'ixgbe'];

/** Whether zero-copy loses frames with such buffers: those over 1024 bytes. */
export function needsLargeBuffers({ kernelDriver, features }: BufferUser): boolean {
  return features?.zeroCopy !== false && KIB_BUFFERS.includes(kernelDriver);
}

/**
 * An own pool gets buffers that hold what the interface's MTU lets through, and as much room in front of a frame as the kernel
 * keeps: no frame is moved then.
 */
export function withBuffers(options: OpenOptions, user: BufferUser): OpenOptions {
  const { pool, bufferSizeBytes, headroomBytes = KERNEL_HEADROOM } = options;
  if (pool !== undefined) return options;
  if (bufferSizeBytes !== undefined) return { ...options, headroomBytes };
  if (options.interfaceMode !== 'copy' && needsLargeBuffers(user)) {
    return { ...options, headroomBytes, bufferSizeBytes: LARGEST_BUFFER };
  }
  const { mtu } = user;
  const frameBytes =
    (options.mtu ?? mtu) + (options.mtu === undefined ? HEADER_BYTES + VLAN_BYTES : L2_BYTES);
  const large =
    frameBytes > frameRoom(2048, headroomBytes) && frameBytes <= frameRoom(LARGEST_BUFFER, headroomBytes);
  return { ...options, headroomBytes, ...(large ? { bufferSizeBytes: LARGEST_BUFFER } : {}) };
}

/**
 * The mode to ask the kernel for: zero-copy is not for a program in general code, nor for buffers that the hardware cannot fill.
 * @throws NicError `BAD_OPTION` where zero-copy is insisted on
 */
export function modeToAsk(
  address: string,
  wanted: 'auto' | XdpMode,
  program: 'native' | 'generic',
  pool: PacketPool,
  user: BufferUser,
): 'auto' | XdpMode {
  if (wanted === 'copy') return wanted;
  const tooSmall = pool.bufferSizeBytes < LARGEST_BUFFER && needsLargeBuffers(user);
  if (program === 'native' && !tooSmall) return wanted;
  if (wanted === 'auto') return 'copy';
  throw program === 'generic'
    ? new NicError(
        'BAD_OPTION',
        `${address} has no zero-copy mode: its driver (${user.kernelDriver}) runs no program`,
        {
          path: address,
          hint: 'Leave the mode out (interfaceMode, --interface-mode): the kernel copies then.',
        },
      )
    : new NicError('BAD_OPTION', `In zero-copy mode ${address} would lose frames over 1024 bytes`, {
        path: address,
        hint: `Its driver (${user.kernelDriver}) counts buffers in KiB: set bufferSizeBytes to ${LARGEST_BUFFER}.`,
      });
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
