/**
 * What a device offers, and what of it the driver accepts (VIRTIO 1.2, 2.2, 3.1.1 and 5.1.3): feature bits, ring sizes,
 * queue pairs, its address.
 */
import { NicError } from '../../errors.js';
import { ETHERNET_BYTES } from '../../packet/protocols.js';
import type { VfioDevice } from '../../vfio/types.js';
import type { DeviceCapabilities, DeviceLimits } from '../device.js';
import { TX_OFFLOADS } from './offloads.js';
import * as reg from './registers.js';
import { RSS_LEAST_KEY_BYTES, RSS_LEAST_TABLE, type RssLimits } from './steering.js';
import { isPowerOfTwo, type Transport } from './transport.js';

const RING = { min: 16, max: 1024, powerOfTwo: true, default: 256 } as const;
const MAX_QUEUE_PAIRS = 16;
const MAX_FRAME_BYTES = 16_384 - 64;
/** Header and two tags in front of what an MTU counts. */
const L2_BYTES = 22;
const MAC_BYTES = 6;
/** 5.1.4.1: no device may offer a smaller one. */
const MTU_MIN = 68;

/** What every device that this driver knows is limited to; one device may have less. */
export const LIMITS: DeviceLimits = {
  rxRing: RING,
  txRing: RING,
  maxQueuePairs: MAX_QUEUE_PAIRS,
  minFrameBytes: ETHERNET_BYTES,
  maxFrameBytes: MAX_FRAME_BYTES,
  headroomBytes: reg.NET_HEADER_BYTES,
};

/** What the family can do; one device may do less. */
export const CAPABILITIES: DeviceCapabilities = {
  rxMetadata: true,
  vlanStrip: false,
  txOffloads: TX_OFFLOADS,
  rxTimes: false,
  interrupts: true,
};

/**
 * Features that the driver makes use of. VERSION_1 is a must. Not among them: CTRL_VLAN, with which a device passes only tags
 * that it was told, and without which it passes all; IN_ORDER, which would save little where ids are checked anyway.
 */
const WANTED: readonly number[] = [
  reg.Feature.VERSION_1,
  reg.Feature.ACCESS_PLATFORM,
  reg.Feature.MAC,
  reg.Feature.MRG_RXBUF,
  reg.Feature.MTU,
  reg.Feature.STATUS,
  reg.Feature.SPEED_DUPLEX,
  reg.Feature.CTRL_VQ,
  reg.Feature.CTRL_RX,
  reg.Feature.CTRL_MAC_ADDR,
  reg.Feature.MQ,
  reg.Feature.EVENT_IDX,
  reg.Feature.RING_PACKED,
  reg.Feature.NOTIFICATION_DATA,
  reg.Feature.RSS,
  reg.Feature.GUEST_ANNOUNCE,
  reg.Feature.CSUM,
];
/** Features that mean nothing without CTRL_VQ (5.1.3.1). */
const NEED_CONTROL: readonly number[] = [
  reg.Feature.CTRL_RX,
  reg.Feature.CTRL_MAC_ADDR,
  reg.Feature.MQ,
  reg.Feature.RSS,
  reg.Feature.GUEST_ANNOUNCE,
];

export interface Offer {
  /** Those that were accepted. */
  readonly features: ReadonlySet<number>;
  readonly mac: Uint8Array;
  readonly limits: DeviceLimits;
  /** Number of the control queue's virtqueue. */
  readonly controlQueue: number | undefined;
  /** What this device can do. */
  readonly capabilities: DeviceCapabilities;
  /** Undefined where the device does not let the driver choose. */
  readonly rss: RssLimits | undefined;
}

/**
 * Steps 2 to 6 of the bring-up (3.1.1), after the reset: acknowledges the device and settles the features.
 * @param rxMetadata whether somebody wants to know of checksums: else none may be missing
 * @throws NicError `UNSUPPORTED_DEVICE`, `DEVICE_STATE`, `DEVICE_GONE`
 */
export function readOffer(vfio: VfioDevice, transport: Transport, rxMetadata: boolean): Offer {
  transport.addStatus(reg.STATUS_ACKNOWLEDGE);
  transport.addStatus(reg.STATUS_DRIVER);
  const offered = transport.offeredFeatures();
  checkOffered(vfio, offered);
  const features = new Set(WANTED.filter((bit) => offered.has(bit)));
  if (!wantsPacked()) features.delete(reg.Feature.RING_PACKED);
  if (rxMetadata && offered.has(reg.Feature.GUEST_CSUM)) features.add(reg.Feature.GUEST_CSUM);
  // The request comes by the status.
  if (!features.has(reg.Feature.STATUS)) features.delete(reg.Feature.GUEST_ANNOUNCE);
  if (!features.has(reg.Feature.CTRL_VQ)) for (const bit of NEED_CONTROL) features.delete(bit);
  transport.acceptFeatures(features);
  const { mac, pairs, mtu, rss } = readConfig(transport, features);
  const controlQueue = features.has(reg.Feature.CTRL_VQ) ? 2 * pairs : undefined;
  const isPacked = features.has(reg.Feature.RING_PACKED);
  const limits = limitsOf(transport, isPacked, Math.min(pairs, MAX_QUEUE_PAIRS), mtu);
  const capabilities = {
    ...CAPABILITIES,
    rxMetadata: offered.has(reg.Feature.GUEST_CSUM),
    txOffloads: features.has(reg.Feature.CSUM) ? TX_OFFLOADS : 0,
  };
  return { features, mac, controlQueue, limits, capabilities, rss };
}

/**
 * Split rings where a device has both: they cost the driver less (docs/virtio.md). A packed ring keeps all of a
 * descriptor in one place, which helps devices that read it over a bus: BAREWIRE_VIRTIO_RINGS=packed takes them where they are.
 * @throws NicError `BAD_OPTION`
 */
function wantsPacked(): boolean {
  const value = process.env.BAREWIRE_VIRTIO_RINGS ?? '';
  if (value === 'packed') return true;
  if (value === '' || value === 'split') return false;
  throw new NicError('BAD_OPTION', `BAREWIRE_VIRTIO_RINGS is "${value}"`, {
    hint: 'It can be split or packed; without it rings are split.',
  });
}

function checkOffered(vfio: VfioDevice, offered: ReadonlySet<number>): void {
  if (!offered.has(reg.Feature.VERSION_1)) {
    throw new NicError('UNSUPPORTED_DEVICE', `${vfio.address} does not offer VIRTIO_F_VERSION_1`, {
      path: vfio.address,
      hint: 'It speaks legacy virtio only. Have the hypervisor offer VIRTIO 1.0 (QEMU: disable-modern=off).',
    });
  }
  // 6.1: without it the device takes addresses for physical ones, past the IOMMU: it would write anywhere in memory.
  if (vfio.backend !== 'vfio-user' && !offered.has(reg.Feature.ACCESS_PLATFORM)) {
    throw new NicError(
      'UNSUPPORTED_DEVICE',
      `${vfio.address} does not offer VIRTIO_F_ACCESS_PLATFORM: its DMA goes past the IOMMU`,
      {
        path: vfio.address,
        hint: 'Put the device behind the virtual IOMMU (QEMU: -device intel-iommu, and iommu_platform=on for the device).',
      },
    );
  }
}

interface NetConfig {
  readonly mac: Uint8Array;
  readonly pairs: number;
  readonly mtu: number | undefined;
  readonly rss: RssLimits | undefined;
}

/** 5.1.4: the fields that accepted features give a meaning to. */
function readConfig(transport: Transport, features: ReadonlySet<number>): NetConfig {
  const needed = [
    [reg.Feature.MAC, reg.NET_MAC + MAC_BYTES],
    [reg.Feature.STATUS, reg.NET_STATUS + 2],
    [reg.Feature.MQ, reg.NET_MAX_PAIRS + 2],
    [reg.Feature.MTU, reg.NET_MTU + 2],
    [reg.Feature.SPEED_DUPLEX, reg.NET_DUPLEX + 1],
    [reg.Feature.RSS, reg.NET_RSS_HASH_TYPES + 4],
  ] as const;
  const config = transport.readConfig((reader) => {
    for (const [feature, end] of needed) {
      if (features.has(feature) && !reader.has(0, end))
        throw badConfig(transport, `has less than ${end} bytes`);
    }
    const hasMac = features.has(reg.Feature.MAC);
    return {
      mac: hasMac
        ? Uint8Array.from({ length: MAC_BYTES }, (_, i) => reader.read8(reg.NET_MAC + i))
        : localMac(),
      pairs:
        features.has(reg.Feature.MQ) || features.has(reg.Feature.RSS) ? reader.read16(reg.NET_MAX_PAIRS) : 1,
      rss: features.has(reg.Feature.RSS)
        ? {
            keyBytes: reader.read8(reg.NET_RSS_KEY_BYTES),
            tableLength: reader.read16(reg.NET_RSS_TABLE_LENGTH),
            hashTypes: reader.read32(reg.NET_RSS_HASH_TYPES),
          }
        : undefined,
      mtu: features.has(reg.Feature.MTU) ? reader.read16(reg.NET_MTU) : undefined,
    };
  });
  if (config.pairs < 1 || config.pairs > 0x8000)
    throw badConfig(transport, `says ${config.pairs} queue pairs`);
  if (config.mtu !== undefined && config.mtu < MTU_MIN)
    throw badConfig(transport, `says an MTU of ${config.mtu}`);
  const { rss } = config;
  if (rss !== undefined && (rss.keyBytes < RSS_LEAST_KEY_BYTES || rss.tableLength < RSS_LEAST_TABLE)) {
    throw badConfig(transport, `says an RSS key of ${rss.keyBytes} bytes and a table of ${rss.tableLength}`);
  }
  return config;
}

/** 5.1.5: a driver takes a locally administered address by chance where the device has none. */
function localMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(MAC_BYTES));
  mac[0] = (mac[0]! & 0xfc) | 2;
  return mac;
}

/** What the device at hand has: the family's limits, made smaller. */
function limitsOf(
  transport: Transport,
  isPacked: boolean,
  maxQueuePairs: number,
  mtu: number | undefined,
): DeviceLimits {
  const ring = (first: number): typeof LIMITS.rxRing => {
    let max: number = RING.max;
    for (let pair = 0; pair < maxQueuePairs; pair++) {
      const size = transport.queueSize(first + 2 * pair);
      // 2.7: a power of two. A packed ring (2.8) may have any size, and rings of this driver are the next smaller power.
      if (!isPacked && !isPowerOfTwo(size))
        throw badConfig(transport, `says that queue ${first + 2 * pair} has ${size} elements`);
      max = Math.min(max, 2 ** Math.floor(Math.log2(size)));
    }
    if (max < RING.min) throw badConfig(transport, `has queues of ${max} elements`);
    return { ...RING, max, default: Math.min(max, RING.default) };
  };
  return {
    ...LIMITS,
    rxRing: ring(0),
    txRing: ring(1),
    maxQueuePairs,
    maxFrameBytes: mtu === undefined ? MAX_FRAME_BYTES : Math.min(MAX_FRAME_BYTES, mtu + L2_BYTES),
  };
}

function badConfig({ address }: Transport, what: string): NicError {
  return new NicError('DEVICE_STATE', `The configuration of ${address} ${what}`, {
    path: address,
    hint: 'This is no device after VIRTIO 1.2, section 5.1. Tell whoever made it.',
  });
}
