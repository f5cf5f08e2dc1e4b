/**
 * What every NIC driver gives. A packet is an index into the device's `PacketPool`; nothing between `receive` and
 * `send` allocates, makes a system call or copies.
 */
import type { PageSize } from '../hugepage/dma-region.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { VfioDevice } from '../vfio/types.js';

export interface OpenOptions {
  /**
   * Buffers to receive into and to send from. Give the same pool to several devices to send on one what another
   * received. Without it the device makes its own (`buffers`, `bufferSizeBytes`, `pageSize`, `debug`) and closes
   * it with itself.
   */
  readonly pool?: PacketPool;
  /** Descriptors per receive queue: a power of two, 64 to 4096. Default 512. */
  readonly rxRingSize?: number;
  /** Descriptors per transmit queue: a power of two, 64 to 4096. Default 512. */
  readonly txRingSize?: number;
  /** Pairs of receive and transmit queues; with more than one, RSS spreads flows over them. Default 1. */
  readonly queuePairs?: number;
  /** Receive every frame, not only those addressed to this MAC. Default false. */
  readonly promiscuous?: boolean;
  /** Own pool only: see `PacketPoolOptions`. Default: enough to fill every ring and 1024 more. */
  readonly buffers?: number;
  /** Own pool only: bytes per buffer. */
  readonly bufferSizeBytes?: number;
  /** Memory for rings (and the own pool). Default `auto`. */
  readonly pageSize?: PageSize;
  /** Own pool only: check who owns each buffer. */
  readonly debug?: boolean;
  /** Fill the pool's `rxFlags`, `vlanTags` and `rssHashes` for each received packet. Default false. */
  readonly rxMetadata?: boolean;
  /** Take VLAN tags out of received frames; `rxMetadata` tells them. Default false: frames stay as they are. */
  readonly vlanStrip?: boolean;
}

export interface LinkState {
  readonly up: boolean;
  /** 0 while the link is down. */
  readonly speedMbps: number;
  readonly fullDuplex: boolean;
}

/**
 * Cumulative since open. The first four are counted by the driver at the rings; `wire*` by the hardware at the MAC.
 * Bytes are frame bytes without the FCS for the driver's counters, with the FCS for the hardware's.
 */
export interface NetStats {
  /** Packets handed to the application. */
  rxPackets: number;
  rxBytes: number;
  /** Packets taken by `send` and put on the ring. */
  txPackets: number;
  txBytes: number;
  /** Good frames that the hardware lost because no descriptor was free: the application is too slow. */
  rxMissed: number;
  /** Frames that arrived damaged (FCS, length, symbol errors), by the hardware's counters. */
  rxErrors: number;
  /** Frames dropped because they did not fit one buffer. */
  rxTooLong: number;
  /** Frames dropped because their descriptor carried an error or an impossible length. */
  rxDamaged: number;
  /** How often `receive` stopped early since the pool was empty. The frames stay in the ring. */
  rxNoBuffer: number;
  /** Packets given to `send` that no hardware can send (too short, longer than the buffer); dropped. */
  txErrors: number;
  /** Good frames by the hardware's counters (GPRC, GORC, GPTC, GOTC). */
  wireRxPackets: number;
  wireRxBytes: number;
  wireTxPackets: number;
  wireTxBytes: number;
}

export interface RxQueue {
  /** Number of descriptors. */
  readonly size: number;
  /**
   * Takes up to `max` received packets: writes their buffer indices to `bufs` and returns how many (0 when there
   * are none). The caller owns the buffers: send them or give them back to the pool. `pool.lengths[i]` has the
   * length. Never blocks and never throws (save for ownership checks of a debug pool).
   */
  receive(bufs: Uint32Array, max?: number): number;
  /** True where `receive` would find a packet. */
  readonly pending: boolean;
}

export interface TxQueue {
  /** Number of descriptors. */
  readonly size: number;
  /**
   * Queues packets `bufs[0]` to `bufs[count - 1]` for transmission, with one doorbell for all, and returns how many
   * were taken: fewer when the ring is full. The caller keeps the rest; the taken ones return to the pool after
   * transmission and must not be touched.
   */
  send(bufs: Uint32Array, count?: number): number;
  /**
   * Like `send`, and has the hardware insert VLAN tags and checksums as the pool's `txFlags`, `vlanTags` and
   * `txHeaders` say. A little slower. Undefined where the driver does not offer it.
   */
  sendOffloaded?(bufs: Uint32Array, count?: number): number;
  /** Gives buffers whose transmission is complete back to the pool. `send` does so by itself. */
  reclaim(): void;
}

export interface NetDevice {
  /** `0000:03:00.0` or `vfio-user:/path`. */
  readonly address: string;
  /** Name of the driver: `igb`. */
  readonly driver: string;
  /** Name of the hardware: `Intel 82576`. */
  readonly model: string;
  readonly pool: PacketPool;
  readonly rxQueues: readonly RxQueue[];
  readonly txQueues: readonly TxQueue[];
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** `52:54:00:12:34:56`. */
  readonly macAddress: string;
  readonly vfio: VfioDevice;
  linkState(): LinkState;
  /**
   * Resolves with the state once the link is up, or is still down after `timeoutMs`.
   * @throws NicError `DEVICE_GONE`
   */
  waitForLink(timeoutMs: number): Promise<LinkState>;
  setPromiscuous(on: boolean): void;
  /**
   * Changes the address that the unicast filter accepts.
   * @param mac six bytes @throws NicError `BAD_OPTION` for a multicast or zero address
   */
  setMac(mac: Uint8Array): void;
  /**
   * Receives the multicast groups given, and no others; the hardware's filter hashes, so some further groups may come
   * through. @param groups six bytes each, or `all`
   */
  setMulticast(groups: readonly Uint8Array[] | 'all'): void;
  /**
   * Reads the hardware's counters and returns the sums. Call at least once in some seconds: hardware counters
   * are 32 bits wide and saturate. @throws NicError `DEVICE_GONE`
   */
  stats(): NetStats;
  /**
   * Resolves with true as soon as a packet has arrived on any receive queue (by interrupt; at once where one is
   * waiting), with false after `timeoutMs`. For idle times: under load poll instead.
   */
  waitForPackets(timeoutMs: number): Promise<boolean>;
  /**
   * Waits until the hardware has put every queued frame on the wire. Resolves with false where it has not within
   * `timeoutMs`: the link is down or the device hangs.
   */
  drain(timeoutMs: number): Promise<boolean>;
  /**
   * Stops the queues, gives every buffer back to the pool, resets the device and turns bus mastering off. May be
   * called twice.
   */
  close(): Promise<void>;
}

/** A driver for some PCI IDs. */
export interface Driver {
  readonly name: string;
  readonly ids: readonly DeviceId[];
  /** Brings the device up. On failure the caller closes `vfio` (closing twice is fine). */
  open(vfio: VfioDevice, id: DeviceId, options: OpenOptions): Promise<NetDevice>;
}

export interface DeviceId {
  readonly vendor: number;
  readonly device: number;
  /** `Intel 82576`. */
  readonly name: string;
}
