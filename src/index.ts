/**
 * Barewire: userspace NIC drivers. A process opens a network card through VFIO and reads packets where the card's DMA
 * put them.
 *
 * @example
 * import { open, pollLoop } from 'barewire';
 * const nic = await open('0000:03:00.0', { promiscuous: true });
 * const bufs = new Uint32Array(32);
 * const stop = new AbortController();
 * await pollLoop(() => {
 *   const count = nic.rxQueues[0]!.receive(bufs);
 *   for (const buf of bufs.subarray(0, count)) console.log(nic.pool.lengths[buf], 'bytes');
 *   nic.pool.release(bufs, 0, count);
 *   return count;
 * }, { signal: stop.signal, devices: [nic] });
 */
export type {
  LinkState,
  NetDevice,
  NetStats,
  OpenOptions,
  RxQueue,
  TxQueue,
} from './driver/device.js';
export { type ConnectOptions, connectQueues, Pipe } from './driver/intel/pipe.js';
export type { PacketHook } from './driver/packet-hook.js';
export { open, type SupportedDevice, supportedDevices } from './driver/registry.js';
export { NicError, type NicErrorCode } from './errors.js';
export { Forwarder, type ForwarderOptions } from './forward/forwarder.js';
export { type PollLoopOptions, pollLoop } from './forward/poll-loop.js';
export { onHugepageWarning, type PageSize } from './hugepage/dma-region.js';
export {
  headerLengths,
  PacketPool,
  type PacketPoolOptions,
  RxFlag,
  TxFlag,
} from './hugepage/packet-pool.js';
