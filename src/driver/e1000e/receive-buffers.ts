/**
 * How long a frame may be in a buffer of the pool. The 82574 has no register for the longest frame: it drops frames over
 * 1522 bytes, or (RCTL.LPE) none, and cuts what is longer than a buffer. What it takes for the size of a buffer is a number
 * of KiB, 512 or 256 (RCTL.BSIZE, FLXBUF; datasheet 10.2.5.1). That number must not be more than what is left of a buffer
 * behind its headroom, or a long frame would be written into the next buffer.
 *
 * So 2 KiB less 64 bytes hold frames of 1518 bytes without FCS, which is all that comes without LPE; with LPE only 1 KiB of
 * them could be used. Buffers of 4 KiB hold 3 KiB, and so on.
 */
import { NicError } from '../../errors.js';
import { HEADROOM_DEFAULT, type PacketPool } from '../../hugepage/packet-pool.js';
import type { DeviceLimits, OpenOptions } from '../device.js';
import { checkOpenOptions, L2_BYTES } from '../options.js';
import * as reg from './registers.js';

const KIB = 1024;
const FCS_BYTES = 4;
/** Longest frame without LPE, FCS left out: 1500 bytes with an Ethernet header and one tag. */
const SHORT_FRAME_BYTES = 1522 - FCS_BYTES;
/** An mtu leaves room for a second tag, which the hardware does not take without LPE. */
const TAG_BYTES = 4;
const BUFFER_BYTES_MAX = 16 * KIB;

/** What the hardware is told, and what comes of it. */
export interface ReceiveBuffers {
  /** Longest frame without FCS. */
  readonly maxFrameBytes: number;
  /** Bits of RCTL. */
  readonly control: number;
}

/**
 * @param roomBytes what a buffer holds behind its headroom
 * @param wantedBytes longest frame that is asked for; undefined for what is possible
 * @returns undefined where the buffers are too small for it
 */
export function receiveBuffers(roomBytes: number, wantedBytes?: number): ReceiveBuffers | undefined {
  const sizeBytes = usableBytes(roomBytes);
  const isShort =
    wantedBytes === undefined ? sizeBytes < SHORT_FRAME_BYTES : wantedBytes <= SHORT_FRAME_BYTES + TAG_BYTES;
  if (isShort && roomBytes >= SHORT_FRAME_BYTES) {
    return {
      maxFrameBytes: Math.min(wantedBytes ?? SHORT_FRAME_BYTES, SHORT_FRAME_BYTES),
      control: sizeBits(2 * KIB),
    };
  }
  if (wantedBytes !== undefined && wantedBytes > sizeBytes) return undefined;
  return { maxFrameBytes: wantedBytes ?? sizeBytes, control: sizeBits(sizeBytes) | reg.RCTL_LPE };
}

/** The largest size that the hardware knows and that is not more than this. */
function usableBytes(roomBytes: number): number {
  if (roomBytes >= BUFFER_BYTES_MAX) return BUFFER_BYTES_MAX;
  if (roomBytes >= KIB) return Math.floor(roomBytes / KIB) * KIB;
  return roomBytes >= 512 ? 512 : 256;
}

function sizeBits(sizeBytes: number): number {
  switch (sizeBytes) {
    case 2 * KIB:
      return 0;
    case BUFFER_BYTES_MAX:
      return reg.RCTL_BSEX | (1 << reg.RCTL_BSIZE_SHIFT);
    case 512:
      return 2 << reg.RCTL_BSIZE_SHIFT;
    case 256:
      return 3 << reg.RCTL_BSIZE_SHIFT;
    default:
      return (sizeBytes / KIB) << reg.RCTL_FLXBUF_SHIFT;
  }
}

/** The options with larger buffers, where the device makes its own pool and its `mtu` needs them. */
export function withBuffersFor(options: OpenOptions, limits: DeviceLimits): OpenOptions {
  checkOpenOptions(options);
  const { mtu, pool, bufferSizeBytes, headroomBytes = HEADROOM_DEFAULT } = options;
  if (!Number.isInteger(mtu) || pool !== undefined || bufferSizeBytes !== undefined) return options;
  if (!Number.isInteger(headroomBytes)) return options;
  const wantedBytes = mtu! + L2_BYTES;
  if (wantedBytes > limits.maxFrameBytes) return options;
  for (let sizeBytes = 2 * KIB; sizeBytes <= BUFFER_BYTES_MAX; sizeBytes *= 2) {
    if (receiveBuffers(sizeBytes - headroomBytes, wantedBytes) !== undefined)
      return { ...options, bufferSizeBytes: sizeBytes };
  }
  return options;
}

/** @throws NicError `BAD_OPTION` where the pool's buffers are too small for the frames that are asked for */
export function checkedReceiveBuffers(
  address: string,
  pool: PacketPool,
  limits: DeviceLimits,
  wantedBytes?: number,
): ReceiveBuffers {
  const buffers = receiveBuffers(pool.maxFrameBytes, wantedBytes);
  if (buffers !== undefined) {
    return { ...buffers, maxFrameBytes: Math.min(buffers.maxFrameBytes, limits.maxFrameBytes) };
  }
  throw new NicError(
    'BAD_OPTION',
    `${address} cannot receive frames of ${wantedBytes} bytes in buffers of ${pool.bufferSizeBytes}: ` +
      `its hardware uses whole KiB, ${usableBytes(pool.maxFrameBytes)} bytes of each`,
    {
      path: address,
      hint:
        pool.bufferSizeBytes < BUFFER_BYTES_MAX
          ? `Make the pool with bufferSizeBytes ${2 * pool.bufferSizeBytes}, or give a smaller mtu.`
          : 'Give a smaller mtu.',
    },
  );
}
