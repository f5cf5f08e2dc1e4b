/** Opens the ports of a command that sends and checks traffic. */
import type { NetDevice } from '../src/driver/device.js';
import { open } from '../src/driver/registry.js';
import { pageSizeFor } from './addresses.js';

export interface TrafficPortOptions {
  /** Largest layer 3 packet. */
  readonly mtu?: number;
  /** Receive descriptors of ports that check. */
  readonly ring?: number;
}

/**
 * For `runTraffic`.
 * @param checking indices of the ports that take every frame, whatever its address
 */
export function trafficPorts(
  addresses: readonly string[],
  checking: ReadonlySet<number>,
  { mtu, ring }: TrafficPortOptions,
): ((signal: AbortSignal) => Promise<NetDevice>)[] {
  return addresses.map(
    (address, i) => (signal) =>
      open(address, {
        pageSize: pageSizeFor(addresses),
        signal,
        ...(checking.has(i) ? { promiscuous: true } : {}),
        ...(checking.has(i) && ring !== undefined ? { rxRingSize: ring } : {}),
        ...(mtu === undefined ? {} : { mtu }),
      }),
  );
}
