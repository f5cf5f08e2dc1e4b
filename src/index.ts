/**
 * Barewire: userspace NIC drivers. A process opens a network card through VFIO and reads packets where the card's DMA
 * put them.
 *
 * @example
 * import { open, pollLoop } from 'barewire';
 * await using nic = await open('0000:03:00.0', { promiscuous: true });
 * const bufs = new Uint32Array(32);
 * const stop = new AbortController();
 * await pollLoop(() => {
 *   const count = nic.rxQueues[0].receive(bufs);
 *   for (const packet of bufs.subarray(0, count)) console.log(nic.pool.lengths[packet], 'bytes');
 *   nic.pool.release(bufs, count);
 *   return count;
 * }, { signal: stop.signal, devices: [nic] });
 */
export { type Clock, ManualClock, systemClock } from './clock.js';
export { type AttachedThread, attachThread } from './driver/attached-thread.js';
export { type BatchesOptions, batches, type PacketBatch } from './driver/batches.js';
export type {
  DeviceCapabilities,
  DeviceId,
  DeviceLimits,
  Driver,
  LinkState,
  NetDevice,
  NetStats,
  OpenOptions,
  QueueStats,
  Queues,
  RingLimits,
  RxQueue,
  TxQueue,
  WaitOptions,
} from './driver/device.js';
export { specialize } from './driver/instantiate.js';
export {
  PacketChannel,
  type PacketChannelOptions,
  type PacketInput,
  type PacketOutput,
} from './driver/packet-channel.js';
export type { PacketCursor } from './driver/packet-cursor.js';
export type { LinkedQueues, LinkOptions, LinkPath, PacketHook } from './driver/queue-link.js';
export type {
  AttachContext,
  AttachedQueue,
  AttachedRxQueue,
  AttachedTxQueue,
  HandedOver,
  HandOver,
  QueueEnd,
  ThreadFamily,
} from './driver/queue-share.js';
export {
  addDriver,
  addScheme,
  type DeviceScheme,
  open,
  type SupportedDevice,
  supportedDevices,
} from './driver/registry.js';
export { shareWithThread, type ThreadShare, type ThreadShareOptions } from './driver/thread-share.js';
export type { ThreadTicket } from './driver/thread-ticket.js';
export { NicError, type NicErrorCode } from './errors.js';
export { openCursor } from './forward/cursor.js';
export { connectQueues, type Forwarder, type ForwardOptions } from './forward/forwarder.js';
export { type LoopDevice, type PollLoopOptions, type PollPolicy, pollLoop } from './forward/poll-loop.js';
export { onHugepageWarning, type PageSize } from './hugepage/dma-region.js';
export { type PacketMetadata, RxFlag, TxFlag } from './hugepage/packet-metadata.js';
export { PacketPool, type PacketPoolOptions } from './hugepage/packet-pool.js';
