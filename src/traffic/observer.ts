/** One who looks on while ports send and receive. */
import type { NetDevice } from '../driver/device.js';

/** Its functions see frames in the buffers of `device.pool`; they must not change or keep them, and run between polls of the rings. */
export interface TrafficObserver {
  /** The ring has taken the first `count` of `packets`. @param nowNs the trial's clock */
  sent(device: NetDevice, packets: Uint32Array, count: number, nowNs: number): void;
  /** The first `count` of `packets` have come. */
  received(device: NetDevice, packets: Uint32Array, count: number, nowNs: number): void;
}
