/** Checks what `open` is given against what a family's hardware can do: the one place, for all families. */
import { NicError } from '../errors.js';
import { PAGE_SIZES, type PageSize } from '../hugepage/dma-region.js';
import {
  BUFFER_SIZE,
  BUFFER_SIZE_DEFAULT,
  HEADROOM,
  HEADROOM_DEFAULT,
  PacketPool,
  poolOption,
} from '../hugepage/packet-pool.js';
import {
  badOption,
  booleanOption,
  choiceOption,
  describeValue,
  integerOption,
  knownOptions,
  signalOption,
} from '../options.js';
import type { DeviceCapabilities, DeviceLimits, OpenOptions } from './device.js';

const KNOWN = [
  'pool',
  'rxRingSize',
  'txRingSize',
  'queuePairs',
  'symmetricRss',
  'mtu',
  'promiscuous',
  'interruptIntervalUs',
  'buffers',
  'buffersForDevices',
  'bufferSizeBytes',
  'headroomBytes',
  'pageSize',
  'debug',
  'rxMetadata',
  'vlanStrip',
  'only',
  'takeDefaultRoute',
  'interfaceMode',
  'busyPollUs',
  'signal',
] as const satisfies readonly (keyof OpenOptions)[];

const OWN_POOL = ['buffers', 'buffersForDevices', 'bufferSizeBytes', 'headroomBytes', 'debug'] as const;
const FLAGS = [
  'promiscuous',
  'debug',
  'rxMetadata',
  'vlanStrip',
  'symmetricRss',
  'takeDefaultRoute',
] as const;
const OF_SHARED_INTERFACES = ['only', 'takeDefaultRoute', 'interfaceMode', 'busyPollUs'] as const;
export const INTERFACE_MODES = ['auto', 'zero-copy', 'copy'] as const;
export const BUSY_POLL_US = { min: 1, max: 1_000_000 } as const;

/** Smallest layer 3 packet that an IPv4 link has to carry (RFC 791, 3.2), largest that its length field can say. */
const MTU_MIN = 68;
/** Ethernet header and two VLAN tags, in front of the layer 3 packet. */
export const L2_BYTES = 22;
/** Buffers of an own pool beyond those that fill the rings. */
const SPARE_BUFFERS = 1024;

/** A device as it is to be set up: every option checked, with its default. */
export interface DeviceSettings {
  readonly rxRingSize: number;
  readonly txRingSize: number;
  readonly queuePairs: number;
  readonly symmetricRss: boolean;
  readonly promiscuous: boolean;
  readonly rxMetadata: boolean;
  readonly vlanStrip: boolean;
  /** Least time between two interrupts of a receive queue; 0: no limit. */
  readonly interruptIntervalUs: number;
  readonly pageSize: PageSize;
  /** Longest frame without FCS. */
  readonly maxFrameBytes: number;
  readonly pool: PacketPool;
  /** True where the pool was made here: the device closes it. */
  readonly ownsPool: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Checks what does not depend on the hardware. @throws NicError `BAD_OPTION` */
export function checkOpenOptions(options: OpenOptions): void {
  knownOptions('open', options, KNOWN);
  for (const name of FLAGS) if (options[name] !== undefined) booleanOption(name, options[name]);
  if (options.pageSize !== undefined) choiceOption('pageSize', options.pageSize, PAGE_SIZES);
  if (options.signal !== undefined) signalOption('signal', options.signal);
  if (options.only !== undefined && typeof options.only !== 'string')
    throw badOption('only', options.only, "a filter in tcpdump's language");
  if (options.interfaceMode !== undefined)
    choiceOption('interfaceMode', options.interfaceMode, INTERFACE_MODES);
  if (options.busyPollUs !== undefined) integerOption('busyPollUs', options.busyPollUs, BUSY_POLL_US);
  if (options.pool === undefined) return;
  poolOption('pool', options.pool);
  const own = OWN_POOL.find((name) => options[name] !== undefined);
  if (own === undefined) return;
  throw new NicError(
    'BAD_OPTION',
    `open was given a pool and the option ${own}, which is about a pool of its own`,
    {
      hint: `Give ${own} to the pool, or leave the pool out.`,
    },
  );
}

/**
 * Checks the rest, and makes the device's own pool where none is given.
 * @param address of the device, for messages
 * @throws NicError `BAD_OPTION`, `NO_MEMORY`
 */
export function deviceSettings(
  address: string,
  options: OpenOptions,
  limits: DeviceLimits,
  capabilities: DeviceCapabilities,
): DeviceSettings {
  checkOpenOptions(options);
  for (const name of ['rxMetadata', 'vlanStrip'] as const) {
    if (options[name] === true && !capabilities[name]) {
      throw new NicError('BAD_OPTION', `The driver of ${address} does not offer ${name}`, {
        path: address,
        hint: `Leave ${name} out; capabilities of supportedDevices() and of devices tell who offers it.`,
      });
    }
  }
  const shared = OF_SHARED_INTERFACES.find((name) => options[name] !== undefined);
  if (shared !== undefined && capabilities.sharesInterface !== true) {
    throw new NicError('BAD_OPTION', `${address} cannot be opened with ${shared}: it is not the kernel's`, {
      path: address,
      hint: `Leave ${shared} out: it is for interfaces that stay with the kernel.`,
    });
  }
  const { rxRing, txRing } = limits;
  // Defaults as of parameters: null is no size, and is refused.
  const { rxRingSize = rxRing.default, txRingSize = txRing.default, queuePairs = 1 } = options;
  integerOption('rxRingSize', rxRingSize, rxRing);
  integerOption('txRingSize', txRingSize, txRing);
  integerOption('queuePairs', queuePairs, { min: 1, max: limits.maxQueuePairs });
  const interruptIntervalUs = intervalOption(address, options, limits);
  const wanted = wantedFrame(options, limits);
  const pool = options.pool ?? ownPool(options, limits, queuePairs * (rxRingSize + txRingSize), wanted);
  try {
    checkHeadroom(address, pool, limits);
    checkPool(address, pool, queuePairs * rxRingSize, wanted);
  } catch (error) {
    if (options.pool === undefined) pool.close();
    throw error;
  }
  return {
    rxRingSize,
    txRingSize,
    queuePairs,
    symmetricRss: options.symmetricRss ?? false,
    promiscuous: options.promiscuous ?? false,
    rxMetadata: options.rxMetadata ?? false,
    vlanStrip: options.vlanStrip ?? false,
    interruptIntervalUs,
    pageSize: options.pageSize ?? 'auto',
    maxFrameBytes: wanted ?? Math.min(pool.maxFrameBytes, limits.maxFrameBytes),
    pool,
    ownsPool: options.pool === undefined,
    signal: options.signal,
  };
}

const MAC_BYTES = 6;
/** In the first byte of an address: it is a group's (IEEE 802, 8.2.2). */
const GROUP_BIT = 1;

/** A copy of what `setMac` was given, where it is the address of one station. @throws NicError `BAD_OPTION` */
export function stationAddress(mac: unknown): Uint8Array {
  const bytes = macBytes(mac);
  if (bytes !== undefined && (bytes[0]! & GROUP_BIT) === 0 && bytes.some((byte) => byte !== 0)) return bytes;
  throw new NicError('BAD_OPTION', `${describeMac(mac)} is not the address of one station`, {
    hint: 'Give six bytes; the lowest bit of the first must be 0, and not all bytes.',
  });
}

/** Copies of what `setMulticast` was given. @throws NicError `BAD_OPTION` for anything but groups and `all` */
export function multicastGroups(groups: unknown): readonly Uint8Array[] | 'all' {
  if (groups === 'all') return groups;
  if (!Array.isArray(groups)) throw badOption('setMulticast', groups, "an array of groups, or 'all'");
  return groups.map((group: unknown) => {
    const bytes = macBytes(group);
    if (bytes !== undefined && (bytes[0]! & GROUP_BIT) === 1) return bytes;
    throw new NicError('BAD_OPTION', `${describeMac(group)} is not the address of a multicast group`, {
      hint: 'Give six bytes; the lowest bit of the first must be 1.',
    });
  });
}

function macBytes(mac: unknown): Uint8Array | undefined {
  return mac instanceof Uint8Array && mac.length === MAC_BYTES ? Uint8Array.from(mac) : undefined;
}

function describeMac(mac: unknown): string {
  return mac instanceof Uint8Array ? `[${mac.subarray(0, 2 * MAC_BYTES).join(', ')}]` : describeValue(mac);
}

function intervalOption(address: string, { interruptIntervalUs }: OpenOptions, limits: DeviceLimits): number {
  if (interruptIntervalUs === undefined) return 0;
  if (limits.interruptIntervalUs !== undefined)
    return integerOption('interruptIntervalUs', interruptIntervalUs, limits.interruptIntervalUs);
  throw new NicError('BAD_OPTION', `${address} cannot hold interrupts back`, {
    path: address,
    hint: 'Leave interruptIntervalUs out; limits of supportedDevices() and of devices tell who offers it.',
  });
}

/** The longest frame that `mtu` asks for; undefined where it is not given. */
function wantedFrame({ mtu }: OpenOptions, limits: DeviceLimits): number | undefined {
  if (mtu === undefined) return undefined;
  const max = Math.min(limits.maxFrameBytes, BUFFER_SIZE.max) - L2_BYTES;
  return integerOption('mtu', mtu, { min: MTU_MIN, max }) + L2_BYTES;
}

function ownPool(
  options: OpenOptions,
  limits: DeviceLimits,
  ringSlots: number,
  frameBytes: number | undefined,
): PacketPool {
  const { headroomBytes = headroomFor(limits.headroomBytes ?? 0), buffersForDevices = 1 } = options;
  integerOption('headroomBytes', headroomBytes, HEADROOM);
  integerOption('buffersForDevices', buffersForDevices, { min: 1, max: 64 });
  const {
    buffers = buffersForDevices * ringSlots + SPARE_BUFFERS,
    bufferSizeBytes = bufferFor((frameBytes ?? 0) + headroomBytes),
    pageSize = 'auto',
    debug = false,
  } = options;
  return new PacketPool({ buffers, headroomBytes, bufferSizeBytes, pageSize, debug });
}

/** The smallest possible buffer of at least so many bytes; the usual one where that is enough. */
function bufferFor(bytes: number): number {
  return Math.max(BUFFER_SIZE_DEFAULT, 2 ** Math.ceil(Math.log2(bytes)));
}

function checkHeadroom(address: string, pool: PacketPool, { headroomBytes = 0 }: DeviceLimits): void {
  if (pool.headroomBytes >= headroomBytes) return;
  throw new NicError(
    'BAD_OPTION',
    `${address} needs ${headroomBytes} bytes in front of each frame for a header; the pool has ${pool.headroomBytes}`,
    { path: address, hint: `Make the pool with headroomBytes ${headroomFor(headroomBytes)}.` },
  );
}

/** The headroom of an own pool: the usual one, or what is needed, rounded up to what is possible. */
function headroomFor(bytes: number): number {
  return Math.max(HEADROOM_DEFAULT, Math.ceil(bytes / HEADROOM.multipleOf) * HEADROOM.multipleOf);
}

function checkPool(address: string, pool: PacketPool, needed: number, frameBytes: number | undefined): void {
  if (frameBytes !== undefined && frameBytes > pool.maxFrameBytes) {
    const size = bufferFor(frameBytes + pool.headroomBytes);
    throw new NicError(
      'BAD_OPTION',
      `An MTU of ${frameBytes - L2_BYTES} needs frames of ${frameBytes} bytes; the pool's buffers hold ${pool.maxFrameBytes}`,
      {
        path: address,
        hint: size <= BUFFER_SIZE.max ? `Make the pool with bufferSizeBytes ${size}.` : 'Give a smaller mtu.',
      },
    );
  }
  if (pool.available >= needed) return;
  throw new NicError(
    'BAD_OPTION',
    `${address} needs ${needed} buffers for its receive rings and the pool has ${pool.available} free`,
    {
      path: address,
      hint: 'Make the pool larger: the receive and transmit rings of all devices, and some in flight.',
    },
  );
}
