/**
 * What every NIC driver gives. A packet is an index into the device's `PacketPool`; nothing between `receive` and
 * `send` allocates or copies. Nothing here says what only one family of hardware means.
 */
import type { PageSize } from '../hugepage/dma-region.js';
import type { PacketPool } from '../hugepage/packet-pool.js';
import type { IntegerRange } from '../options.js';
import type { VfioDevice } from '../vfio/types.js';
import type { PacketCursor } from './packet-cursor.js';
import type { LinkedQueues, LinkOptions } from './queue-link.js';
import type { HandedOver, HandOver, ThreadFamily } from './queue-share.js';

/** How `open` sets a device up. */
export interface OpenOptions {
  /**
   * Buffers to receive into and to send from. Give the same pool to several devices to send on one what another
   * received. Without it the device makes its own (`buffers`, `bufferSizeBytes`, `headroomBytes`, `debug`); its memory
   * is given back when the last device that uses it closes.
   */
  readonly pool?: PacketPool;
  /** Descriptors per receive queue. What is possible, and the default: `NetDevice.limits`. */
  readonly rxRingSize?: number;
  /** Descriptors per transmit queue. */
  readonly txRingSize?: number;
  /** Pairs of receive and transmit queues; with more than one, flows are spread over them. Default 1. */
  readonly queuePairs?: number;
  /**
   * Spread flows so that both directions of one meet on queues of the same number, on all devices opened so. Default false:
   * the usual key, which spreads a little better.
   */
  readonly symmetricRss?: boolean;
  /**
   * Bytes of the largest layer 3 packet. The longest frame has 22 more (Ethernet header and two VLAN tags), and an own
   * pool gets buffers that hold it. Without it frames may be as long as buffers and hardware allow.
   */
  readonly mtu?: number;
  /** Receive every frame, not only those addressed to this MAC. Default false. */
  readonly promiscuous?: boolean;
  /**
   * Least time between two interrupts of a receive queue, in whole microseconds, rounded up to what the register counts in. A
   * packet that comes earlier waits so long for its interrupt; one that comes after a pause does not. What is possible:
   * `NetDevice.limits`. Default: no limit.
   */
  readonly interruptIntervalUs?: number;
  /** Own pool only: see `PacketPoolOptions`. Default: enough to fill every ring and 1024 more. */
  readonly buffers?: number;
  /** Own pool only: how many devices like this one are going to use it. Default 1. */
  readonly buffersForDevices?: number;
  /** Own pool only: bytes per buffer. */
  readonly bufferSizeBytes?: number;
  /** Own pool only: bytes in front of each frame. */
  readonly headroomBytes?: number;
  /** Memory for rings (and the own pool). Default `auto`. */
  readonly pageSize?: PageSize;
  /** Own pool only: check who owns each buffer. */
  readonly debug?: boolean;
  /** Fill the pool's `metadata` for each received packet. Default false. */
  readonly rxMetadata?: boolean;
  /** Take VLAN tags out of received frames; `rxMetadata` tells them. Default false: frames stay as they are. */
  readonly vlanStrip?: boolean;
  /**
   * Where the kernel keeps the interface (`capabilities.sharesInterface`): what comes to this device, as a filter in the
   * language of tcpdump, such as `udp port 9 or vlan 7`. The rest stays with the kernel. Default: everything comes here.
   */
  readonly only?: string;
  /** There, too: takes an interface although the default route goes over it. Default false: that is refused. */
  readonly takeDefaultRoute?: boolean;
  /**
   * There, too: who moves each frame, the hardware (`zero-copy`, which the interface's driver must have) or the kernel (`copy`).
   * Default `auto`: zero-copy where that is possible; `stats()` and `model` say which it is.
   */
  readonly interfaceMode?: 'auto' | 'zero-copy' | 'copy';
  /**
   * There, too: microseconds for which a call for packets has the kernel poll the interface's driver in place of its interrupts
   * (SO_PREFER_BUSY_POLL). Default: interrupts.
   */
  readonly busyPollUs?: number;
  /** Ends the opening: it rejects with the signal's reason, and the device is as before. */
  readonly signal?: AbortSignal;
}

/** How long to wait. */
export interface WaitOptions {
  /** Ends the wait: it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds; without it the wait has no end of its own. */
  readonly timeoutMs?: number | undefined;
}

export interface LinkState {
  readonly up: boolean;
  /** 0 while the link is down, and where the device does not tell (virtio). */
  readonly speedMbps: number;
  readonly fullDuplex: boolean;
}

/**
 * Counters, cumulative since open. Packets and bytes are counted by the driver at the rings; `wire*` by the hardware at the MAC.
 * Bytes are frame bytes without the FCS for the driver's counters, with the FCS for the hardware's. A counter that the
 * hardware does not have is absent.
 */
export interface NetStats {
  /** Packets handed to the application. */
  rxPackets: number;
  rxBytes: number;
  /** Packets taken by `send` and put on the ring. */
  txPackets: number;
  txBytes: number;
  /** Frames dropped because they did not fit one buffer. */
  rxTooLong: number;
  /** Frames dropped because their descriptor carried an error or an impossible length. */
  rxDamaged: number;
  /** How often `receive` stopped early since the pool was empty. The frames stay in the ring. */
  rxNoBuffer: number;
  /** Packets given to `send` that no hardware can send (too short, longer than the buffer); dropped. */
  txErrors: number;
  /** Packets of `txPackets` that are on the ring now: the hardware has not taken them yet, or has no link to send them to. */
  txInRing?: number;
  /** Good frames that the hardware lost because no descriptor was free: the application is too slow. */
  rxMissed?: number;
  /** Frames that arrived damaged (FCS, length, symbol errors), by the hardware's counters. */
  rxErrors?: number;
  /** How often the hardware lost all that was set up, and has it again: the port of a virtual function was reset. */
  resets?: number;
  /** Good frames by the hardware's counters. */
  wireRxPackets?: number;
  wireRxBytes?: number;
  wireTxPackets?: number;
  wireTxBytes?: number;
  /**
   * Where the kernel keeps the interface (`capabilities.sharesInterface`), and no counter: who moves frames, the hardware or the
   * kernel. `mixed`: some queues the one way, some the other.
   */
  interfaceMode?: 'zero-copy' | 'copy' | 'mixed';
  /**
   * There, too: where the program runs that directs frames here, in the interface's driver or in the kernel's general code, which
   * costs another copy.
   */
  interfaceProgram?: 'native' | 'generic';
}

/** What was counted at the rings of one pair of queues: the part of `NetStats` that adds up over the pairs. */
export type QueueStats = Pick<
  NetStats,
  'rxPackets' | 'rxBytes' | 'txPackets' | 'txBytes' | 'rxTooLong' | 'rxDamaged' | 'rxNoBuffer' | 'txErrors'
>;

/** What a ring's size may be, and is where nothing is said. */
export interface RingLimits extends IntegerRange {
  readonly default: number;
}

/** What a family of hardware can be asked for. */
export interface DeviceLimits {
  readonly rxRing: RingLimits;
  readonly txRing: RingLimits;
  readonly maxQueuePairs: number;
  /** Shortest and longest frame that the hardware sends and receives, without FCS. */
  readonly minFrameBytes: number;
  readonly maxFrameBytes: number;
  /** Bytes in front of each frame that hold a header of the device's: the pool must have that much headroom. Default 0. */
  readonly headroomBytes?: number;
  /** `interruptIntervalUs`; absent where interrupts cannot be held back. */
  readonly interruptIntervalUs?: IntegerRange;
}

/** How the hardware can hold a transmit queue to a rate. */
export interface TxRateLimits {
  /** The slowest rate, as a part of the line's speed. */
  readonly leastShare: number;
  /** The line's speed is divided by a multiple of this: the rates that there are. */
  readonly divisorStep: number;
}

/** What the driver of a device offers besides moving frames. */
export interface DeviceCapabilities {
  /** `rxMetadata`: checksums, tags and hashes of received packets. */
  readonly rxMetadata: boolean;
  /** `vlanStrip`. */
  readonly vlanStrip: boolean;
  /** What `sendOffloaded` does: bits of `TxFlag`; 0 where there is no `sendOffloaded`. */
  readonly txOffloads: number;
  /** `TxQueue.setRate`; absent where there is none. */
  readonly txRate?: TxRateLimits;
  /** Received packets have a time stamp in the metadata. */
  readonly rxTimes: boolean;
  /** The device sleeps until a packet interrupts; else idle waits look once a millisecond. */
  readonly interrupts: boolean;
  /** What promiscuous mode adds where that is not every frame: a virtual function gets all groups, and unicast to its own address. */
  readonly promiscuous?: 'multicast';
  /** `only`, `takeDefaultRoute`, `interfaceMode`, `busyPollUs`: the kernel keeps the interface. Default false. */
  readonly sharesInterface?: boolean;
}

export interface RxQueue {
  /** Number of descriptors. */
  readonly size: number;
  /** Where its buffers come from. */
  readonly pool: PacketPool;
  /**
   * Takes up to `max` received packets: writes their buffer indices to `bufs` and returns how many (0 when there
   * are none). The caller owns the buffers: send them or give them back to the pool. `pool.lengths[i]` has the
   * length. Never blocks.
   * @param max at most the length of `bufs`, which is the default
   * @throws NicError `CLOSED` after its device was closed; `OWNERSHIP` while its ring belongs to a pipe
   */
  receive(bufs: Uint32Array, max?: number): number;
  /** True where `receive` would find a packet. */
  readonly pending: boolean;
  /**
   * Resolves with true as soon as a packet has arrived (by interrupt; at once where one is waiting), with false after
   * `timeoutMs`. For idle times: under load poll instead. Costs some microseconds.
   * @throws NicError `CLOSED` where the device is or gets closed, `DEVICE_GONE`; the reason of the signal
   */
  wait(options?: WaitOptions): Promise<boolean>;
  /**
   * Connects the queue with a transmit queue by a way of its own that is faster than `receive` and `send`; undefined
   * where it has none for these two. Applications call `connectQueues`.
   * @throws NicError `BAD_OPTION` where `options.path` insists on one that is not possible
   */
  link?(tx: TxQueue, options: LinkOptions): LinkedQueues | undefined;
  /**
   * A cursor of its own that is faster than `receive` and `send`; undefined where it has none for these two. Applications call
   * `openCursor`.
   */
  cursor?(tx: TxQueue): PacketCursor | undefined;
  /** True while another thread has the queue: see `shareWithThread`. */
  readonly elsewhere?: boolean;
  /**
   * Leaves the queue to another thread until its device closes. Applications call `shareWithThread`. Absent where the driver
   * does not offer it.
   * @throws NicError `BAD_OPTION` where that is not possible, with the reason; nothing has changed then
   */
  handOver?(to: HandOver): HandedOver;
  /** Throws what `handOver` would throw, and does nothing else. */
  checkHandOver?(): void;
}

export interface TxQueue {
  /** Number of descriptors. */
  readonly size: number;
  /** Where the buffers go after transmission; only its packets can be sent. */
  readonly pool: PacketPool;
  /**
   * Queues packets `bufs[start]` to `bufs[start + count - 1]` for transmission, with one doorbell for all, and returns
   * how many were taken: fewer when the ring is full. The caller keeps the rest; the taken ones return to the pool after
   * transmission and must not be touched.
   * @param start default 0
   * @throws NicError `BAD_ARGUMENT`; `CLOSED` after its device was closed; `OWNERSHIP` while its ring belongs to a pipe
   */
  send(bufs: Uint32Array, count: number, start?: number): number;
  /**
   * Like `send`, and has the hardware do what the metadata's `txFlags` say: insert VLAN tags and checksums. A little
   * slower. Undefined where the driver does not offer it.
   */
  sendOffloaded?(bufs: Uint32Array, count: number, start?: number): number;
  /**
   * Holds the queue to a rate from its next frame on: the hardware leaves so much time between the beginnings of two frames as the
   * first of them takes at that rate, however fast `send` is. What counts is a frame with its FCS, without preamble and gap. The
   * hardware keeps the ratio to the line's speed: call it again when that has changed. Absent where the hardware cannot.
   * @param bitsPerS 0 for as fast as the line takes them
   * @returns the rate that it is now: the nearest that the hardware has (`capabilities.txRate`); 0 where there is none
   * @throws NicError `BAD_OPTION` for what is no rate, more than the line's speed or too slow; `NO_LINK` while the line has no speed;
   *   `CLOSED` after its device was closed
   */
  setRate?(bitsPerS: number): number;
  /** Gives buffers whose transmission is complete back to the pool. `send` does so by itself. */
  reclaim(): void;
  /** As of `RxQueue`. */
  readonly elsewhere?: boolean;
  handOver?(to: HandOver): HandedOver;
  checkHandOver?(): void;
}

/** At least one. */
export type Queues<Queue> = readonly [Queue, ...Queue[]];

export interface NetDevice extends AsyncDisposable {
  /** `0000:03:00.0` or `vfio-user:/path`. */
  readonly address: string;
  /** Name of the driver: `igb`. */
  readonly driver: string;
  /** Name of the hardware: `Intel 82576`. */
  readonly model: string;
  readonly pool: PacketPool;
  readonly rxQueues: Queues<RxQueue>;
  readonly txQueues: Queues<TxQueue>;
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
  /** Longest frame without FCS that this device, as it was opened, receives and sends. */
  readonly maxFrameBytes: number;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** `52:54:00:12:34:56`. */
  readonly macAddress: string;
  /** The VFIO device; absent where the kernel drives the hardware. */
  readonly vfio?: VfioDevice;
  /** @throws NicError `DEVICE_GONE` */
  linkState(): LinkState;
  /**
   * Resolves with the state once the link is up, or is still down after `timeoutMs`.
   * @throws NicError `DEVICE_GONE`; `CLOSED` where the device is or gets closed; the reason of the signal
   */
  waitForLink(options?: WaitOptions): Promise<LinkState>;
  setPromiscuous(on: boolean): Promise<void>;
  /**
   * Changes the address that the unicast filter accepts.
   * @param mac six bytes @throws NicError `BAD_OPTION` for a multicast or zero address; `CLOSED`
   */
  setMac(mac: Uint8Array): Promise<void>;
  /**
   * Receives the multicast groups given, and no others; a filter that hashes may let some further groups through.
   * @param groups six bytes each, or `all` @throws NicError `BAD_OPTION` for what is no group; `CLOSED`
   */
  setMulticast(groups: readonly Uint8Array[] | 'all'): Promise<void>;
  /**
   * Lets frames with a VLAN tag come, or none of them any more. Absent where tagged frames come anyway.
   * @param id 1 to 4094 @throws NicError `BAD_OPTION`; `NO_PERMISSION` where whoever has the port refuses; `CLOSED`
   */
  setVlanFilter?(id: number, on: boolean): Promise<void>;
  /**
   * Returns the sums of all counters. Hardware counters may be small: call at least once in some seconds.
   * @throws NicError `DEVICE_GONE`
   */
  stats(): NetStats;
  /** What `stats` sums up, for each pair of queues. */
  queueStats(): readonly QueueStats[];
  /**
   * All that the hardware counts, by the datasheet's names of its registers (an octet counter's pair under one name: `GORC`), or by
   * the kernel's names (`xdp_statistics`). Sums since the open: reading clears most of these registers, so nobody else may
   * read them. Absent where the hardware counts nothing.
   * @throws NicError `DEVICE_GONE`, `CLOSED`
   */
  registerCounters?(): Readonly<Record<string, number>>;
  /**
   * Resolves with true as soon as a packet has arrived on any receive queue, with false after `timeoutMs`.
   * @throws as `RxQueue.wait`
   */
  waitForPackets(options?: WaitOptions): Promise<boolean>;
  /**
   * Waits until the hardware has put every queued frame on the wire. Resolves with false where it has not within
   * `timeoutMs`: the link is down or the device hangs.
   * @throws NicError `DEVICE_GONE`; `CLOSED` where the device is or gets closed; the reason of the signal
   */
  drain(options?: WaitOptions): Promise<boolean>;
  /**
   * Sends one frame: copies the bytes into a buffer of the pool and queues it on the first transmit queue; waits while
   * there is no buffer or no room. For some thousand frames a second: a copy, a promise and a doorbell each.
   * @param frame from the destination address on, without FCS
   * @throws NicError `BAD_ARGUMENT` for what is no frame that this device sends; `DEVICE_TIMEOUT` where there is no room
   *   within `timeoutMs` (default 1000); `CLOSED`; the reason of the signal
   */
  sendFrame(frame: Uint8Array, options?: WaitOptions): Promise<void>;
  /**
   * Frames as they come, on all receive queues, until the signal is aborted or the device is closed. Each is a copy of
   * its own: about 200 ns and garbage for each frame; in return its buffer is back in the pool, and the loop may take its
   * time. Frames that come meanwhile wait in the ring; what does not fit there the hardware counts as missed.
   * @example
   * for await (const frame of nic.frames({ signal })) console.log(frame.length, 'bytes');
   */
  frames(options?: { readonly signal?: AbortSignal }): AsyncIterableIterator<Uint8Array>;
  /** Calls back once when the device is gone: unplugged, or its server has ended. Returns a function that ends it. */
  onGone(listener: (error: Error) => void): () => void;
  /**
   * Stops the queues, gives every buffer back to the pool, resets the device and turns bus mastering off. Ends all that
   * waits. May be called twice.
   */
  close(): Promise<void>;
}

/** A driver for some PCI IDs. */
export interface Driver {
  readonly name: string;
  readonly ids: readonly DeviceId[];
  readonly limits: DeviceLimits;
  readonly capabilities: DeviceCapabilities;
  /** How queues of its devices come to other threads; absent where they cannot. */
  readonly threads?: ThreadFamily;
  /** Brings the device up. The options are checked. On failure the caller closes `vfio` (closing twice is fine). */
  open(vfio: VfioDevice, id: DeviceId, options: OpenOptions): Promise<NetDevice>;
}

export interface DeviceId {
  readonly vendor: number;
  readonly device: number;
  /** `Intel 82576`. */
  readonly name: string;
}
